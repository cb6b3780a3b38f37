import './style.css';
import './components.css';
import './terminal.css';
import { showHeader } from './header.ts';
import { failurePage, notFoundPage } from './pages/failure.ts';
import { Router } from './router.ts';

const root = document.getElementById('main');
if (root === null) throw new Error('index.html has no #main');

showHeader();

const router = new Router(root, notFoundPage, failurePage);
router.add('/', async () => (await import('./pages/clusters.ts')).clustersPage);
router.add('/clusters/{cluster}', async () => (await import('./pages/namespaces.ts')).namespacesPage);
router.add('/clusters/{cluster}/namespaces/{namespace}', async () => (await import('./pages/pods.ts')).podsListPage);
router.add('/clusters/{cluster}/pods/{namespace}/{pod}', async () => (await import('./pages/pod.ts')).podDetailPage);
router.add('/clusters/{cluster}/pods/{namespace}/{pod}/exec', async () => (await import('./pages/exec.ts')).execShellPage);
router.start();
