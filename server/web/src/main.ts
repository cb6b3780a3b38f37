import './style.css';
import './components.css';
import './audit.css';
import './toolbar.css';
import './terminal.css';
import './narrow.css';
import { showHeader } from './header.ts';
import { failurePage, notFoundPage } from './pages/failure.ts';
import { Router } from './router.ts';

const root = document.getElementById('page');
if (root === null) throw new Error('index.html has no #page');

showHeader();

// Where the keyboard of a phone lies over the page instead of shrinking it, the terminal must end above it.
window.visualViewport?.addEventListener('resize', () => {
  const height = Math.round(window.visualViewport?.height ?? 0);
  document.documentElement.style.setProperty('--visible-height', height > 0 ? `${height}px` : '100dvh');
});

const router = new Router(root, notFoundPage, failurePage);
router.add('/', async () => (await import('./pages/clusters.ts')).clustersPage);
router.add('/clusters/{cluster}', async () => (await import('./pages/namespaces.ts')).namespacesPage);
router.add('/clusters/{cluster}/pods', async () => (await import('./pages/pods.ts')).allPodsPage);
router.add('/clusters/{cluster}/namespaces/{namespace}', async () => (await import('./pages/pods.ts')).podsListPage);
router.add('/clusters/{cluster}/pods/{namespace}/{pod}', async () => (await import('./pages/pod.ts')).podDetailPage);
router.add('/clusters/{cluster}/pods/{namespace}/{pod}/exec', async () => (await import('./pages/exec.ts')).execShellPage);
router.add('/sessions', async () => (await import('./pages/sessions.ts')).sessionsPage);
router.add('/audit', async () => (await import('./pages/audit.ts')).auditPage);
router.add('/signed-in', async () => (await import('./pages/signed.ts')).signedInPage);
router.add('/signed-out', async () => (await import('./pages/signed.ts')).signedOutPage);
router.start();
