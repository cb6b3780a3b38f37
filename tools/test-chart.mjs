#!/usr/bin/env node
/**
 * Holds charts/periscope against the real Helm, against Kubernetes' own types, and against the program: what a value
 * renders to is given to `periscope config check`, which has to show it as the setting in effect.
 *
 * usage: tools/test-chart.mjs HELM INTEROP PERISCOPE   (three programs; `make chart` builds them)
 */
import { deepStrictEqual as equal, match, ok } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'));
const [helm, interop, periscope] = process.argv.slice(2);
const chart = 'charts/periscope';
const tiers = ['read', 'triage', 'write', 'maintain', 'admin'];
const work = mkdtempSync(join(tmpdir(), 'periscope-chart-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

/** What an installation cannot do without. */
const least = { auth: { oidc: { issuer: 'https://id.example.test', clientID: 'periscope', redirectURL: 'https://shells.example.test/api/auth/callback' } } };

/**
 * Every value that is a setting of the program: where it stands in the values, what it is set to, and the line of
 * `periscope config check` that shows it, with its origin.
 */
const followed = [
  ['exec.serverIdleSeconds', 601, 'exec (where a cluster says nothing)', 'exec.serverIdleSeconds = 601', 'PERISCOPE_EXEC_IDLE_SECONDS'],
  ['exec.idleWarnSeconds', 31, 'exec (where a cluster says nothing)', 'exec.idleWarnSeconds = 31', 'PERISCOPE_EXEC_IDLE_WARN_SECONDS'],
  ['exec.heartbeatSeconds', 21, 'exec (where a cluster says nothing)', 'exec.heartbeatSeconds = 21', 'PERISCOPE_EXEC_HEARTBEAT_SECONDS'],
  ['exec.maxSessionsPerUser', 6, 'exec (where a cluster says nothing)', 'exec.maxSessionsPerUser = 6', 'PERISCOPE_EXEC_MAX_SESSIONS_PER_USER'],
  ['exec.maxSessionsTotal', 51, 'exec (where a cluster says nothing)', 'exec.maxSessionsTotal = 51', 'PERISCOPE_EXEC_MAX_SESSIONS_TOTAL'],
  ['exec.probeClustersOnBoot', true, 'server', 'probeClustersOnBoot = true', 'PERISCOPE_PROBE_CLUSTERS_ON_BOOT'],
  ['exec.opensPerMinute', 32, 'server', 'opensPerMinute = 32', 'PERISCOPE_EXEC_OPENS_PER_MINUTE'],
  ['drainSeconds', 12, 'server', 'drainSeconds = 12', 'PERISCOPE_DRAIN_SECONDS'],
  ['publicURL', 'https://public.example.test', 'server', 'publicURL = https://public.example.test', 'PERISCOPE_PUBLIC_URL'],
  ['listen', '127.0.0.2', 'server', 'listen = 127.0.0.2:8081', 'PORT'],
  ['port', 8081, 'server', 'listen = 127.0.0.2:8081', 'PORT'],
  ['tls.secretName', 'certificate', 'server', 'tlsCert = /etc/periscope/tls/tls.crt', 'PERISCOPE_TLS_CERT'],
  ['tls.secretName', 'certificate', 'server', 'tlsKey = /etc/periscope/tls/tls.key', 'PERISCOPE_TLS_KEY'],
  ['log.level', 'debug', 'server', 'logLevel = debug', 'PERISCOPE_LOG_LEVEL'],
  ['log.format', 'json', 'server', 'logFormat = json', 'PERISCOPE_LOG_FORMAT'],
  ['audit.enabled', true, 'audit', 'enabled = true', 'PERISCOPE_AUDIT_ENABLED'],
  ['audit.required', true, 'audit', 'required = true', 'PERISCOPE_AUDIT_REQUIRED'],
  ['audit.enabled', true, 'audit', 'dbPath = /var/lib/periscope/audit/audit.db', 'PERISCOPE_AUDIT_DB_PATH'],
  ['audit.retentionDays', 33, 'audit', 'retentionDays = 33', 'PERISCOPE_AUDIT_RETENTION_DAYS'],
  ['audit.maxSizeMB', 2048, 'audit', 'maxSizeMB = 2048', 'PERISCOPE_AUDIT_MAX_SIZE_MB'],
  ['audit.vacuumInterval', '11h', 'audit', 'vacuumInterval = 11h', 'PERISCOPE_AUDIT_VACUUM_INTERVAL'],
  ['audit.keyRef.name', 'keys', 'audit', 'key = [redacted]', 'PERISCOPE_AUDIT_KEY'],
  ['auth.oidc.issuer', 'https://issuer.example.test/realm', 'auth oidc', 'issuer = https://issuer.example.test/realm', 'auth.yaml'],
  ['auth.oidc.clientID', 'shells', 'auth oidc', 'clientID = shells', 'auth.yaml'],
  ['auth.clientSecretRef.name', 'secrets', 'auth oidc', 'clientSecret = [redacted]', 'auth.yaml'],
  ['auth.oidc.redirectURL', 'https://public.example.test/api/auth/callback', 'auth oidc', 'redirectURL = https://public.example.test/api/auth/callback', 'auth.yaml'],
  ['auth.oidc.scopes', ['openid', 'groups'], 'auth oidc', 'scopes = openid, groups', 'auth.yaml'],
  ['auth.oidc.audience', 'an-audience', 'auth oidc', 'audience = an-audience', 'auth.yaml'],
  ['auth.oidc.postLogoutRedirect', 'https://bye.example.test/', 'auth oidc', 'postLogoutRedirect = https://bye.example.test/', 'auth.yaml'],
  ['auth.oidc.providerName', 'Our: "login"', 'auth oidc', 'providerName = Our: "login"', 'auth.yaml'],
  ['auth.session.idleTimeout', '29m', 'auth session', 'idleTimeout = 29m', 'auth.yaml'],
  ['auth.session.absoluteTimeout', '7h', 'auth session', 'absoluteTimeout = 7h', 'auth.yaml'],
  ['auth.authorization.mode', 'tier', 'auth authorization', 'mode = tier', 'auth.yaml'],
  ['auth.authorization.allowedGroups', ['staff'], 'auth authorization', 'allowedGroups = staff', 'auth.yaml'],
  ['auth.authorization.groupsClaim', 'roles', 'auth authorization', 'groupsClaim = roles', 'auth.yaml'],
  ['auth.authorization.groupTiers', { 'on-call: "eu"': 'triage' }, 'auth authorization', 'groupTiers.on-call: "eu" = triage', 'auth.yaml'],
  ['auth.authorization.defaultTier', 'read', 'auth authorization', 'defaultTier = read', 'auth.yaml'],
  ['auth.authorization.auditAdminGroups', ['auditors'], 'auth authorization', 'auditAdminGroups = auditors', 'auth.yaml'],
  ['clusters', [
    { name: 'prod', backend: 'eks', region: 'us-east-1', arn: 'arn:aws:eks:us-east-1:111111111111:cluster/prod', environment: 'production', tags: ['pci', '007'],
      exec: { serverIdleSeconds: 1800, idleWarnSeconds: 61, heartbeatSeconds: 11, maxSessionsPerUser: 10, maxSessionsTotal: 99 } },
    { name: 'dev', backend: 'kubeconfig', kubeconfigPath: '/etc/kubeconfigs/dev', kubeconfigContext: 'dev-context' },
    { name: 'locked-down', backend: 'in-cluster', exec: { enabled: false } },
  ], 'cluster prod', 'backend = eks', 'clusters.yaml'],
  ...[
    ['cluster prod', 'region = us-east-1'],
    ['cluster prod', 'arn = arn:aws:eks:us-east-1:111111111111:cluster/prod'],
    ['cluster prod', 'environment = production'],
    ['cluster prod', 'tags = pci, 007'],
    ['cluster prod', 'exec.serverIdleSeconds = 1800'],
    ['cluster prod', 'exec.idleWarnSeconds = 61'],
    ['cluster prod', 'exec.heartbeatSeconds = 11'],
    ['cluster prod', 'exec.maxSessionsPerUser = 10'],
    ['cluster prod', 'exec.maxSessionsTotal = 99'],
    ['cluster dev', 'kubeconfigPath = /etc/kubeconfigs/dev'],
    ['cluster dev', 'kubeconfigContext = dev-context'],
    ['cluster locked-down', 'exec.enabled = false'],
  ].map((line) => ['clusters', undefined, ...line, 'clusters.yaml']),
  // What a cluster does not override falls through to the global value.
  ['clusters', undefined, 'cluster dev', 'exec.serverIdleSeconds = 601', 'PERISCOPE_EXEC_IDLE_SECONDS'],
];

/** Values that say where something is or how the pod looks; the other tests look at them. */
const unfollowed = ['auth.oidc.clientSecret', 'auth.clientSecretRef.key', 'auth.authorization.groupPrefix', 'audit.keyRef.key', 'audit.persistence',
  // Keys of older installations, which the program takes and warns of.
  'auth.session.cookieName', 'auth.session.cookieDomain', 'auth.authorization.canICacheTTL'];

/** Variables that a pod has no use for, or that EKS puts into it. */
const isNotOfChart = (name) => name === 'PERISCOPE_DEV_ALLOW_ORIGINS' || name.startsWith('AWS_');

const tests = {
  'lint finds nothing, with the defaults and with everything set'() {
    for (const values of [{}, full()]) {
      const run = spawn(helm, ['lint', '--strict', chart, '-f', file(values)]);
      equal(run.code, 0, run.all);
    }
  },

  'every manifest decodes strictly into its type, and nothing is rendered twice'() {
    for (const values of [{}, least, full(), { ...least, ingress: { enabled: true, host: 'shells.example.test' } }]) {
      const objects = render(values);
      const names = objects.map((object) => `${object.kind} ${object.metadata.name}`);
      equal(new Set(names).size, names.length, names.join());
      for (const { kind, metadata } of objects) {
        const isOfNamespace = !kind.startsWith('Cluster');
        equal(metadata.namespace, isOfNamespace ? 'shells' : undefined, `${kind} ${metadata.name}`);
      }
    }
  },

  'a manifest with a field its type does not have is refused'() {
    const run = spawn(interop, ['manifests'], { input: 'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n' });
    equal(run.code, 1);
    match(run.all, /unknown field "spec\.prots"/);
  },

  'the schema refuses a global switch for exec, unknown keys and values of the wrong kind'() {
    const refusals = [
      [{ exec: { enabled: false } }, /\/exec.*additional properties 'enabled' not allowed/s],
      [{ exec: { serverIdleSecond: 5 } }, /additional properties 'serverIdleSecond' not allowed/],
      [{ exec: { serverIdleSeconds: '600' } }, /serverIdleSeconds.*got string, want integer/s],
      [{ exec: { probeClustersOnBoot: 'yes' } }, /probeClustersOnBoot.*got string, want boolean/s],
      [{ exc: {} }, /additional properties 'exc' not allowed/],
      [{ clusters: [{ name: 'a', backend: 'in-cluster', exec: { enabled: 'no' } }] }, /enabled.*got string, want boolean/s],
      [{ clusters: [{ name: 'a', backend: 'in-cluster', exec: { heartbeat: 1 } }] }, /additional properties 'heartbeat' not allowed/],
      [{ clusters: [{ name: 'a', backend: 'in-cluster', regoin: 'x' }] }, /additional properties 'regoin' not allowed/],
      [{ clusters: [{ name: 'a', backend: 'agent' }] }, /backend.*value must be one of 'eks', 'kubeconfig', 'in-cluster'/s],
      [{ clusters: [{ name: '-a', backend: 'eks' }] }, /name.*does not match pattern/s],
      [{ clusters: [{ name: 'a' }] }, /missing property 'backend'/],
      [{ auth: { oidc: { clientId: 'x' } } }, /additional properties 'clientId' not allowed/],
      [{ auth: { authorization: { groupTiers: { a: 'root' } } } }, /groupTiers.*value must be one of/s],
      [{ audit: { retentionDays: 0 } }, /retentionDays.*minimum: got 0, want 1/s],
      [{ replicas: 2 }, /additional properties 'replicas' not allowed/],
      [{ audit: { required: true } }, /audit\.required wants audit\.enabled/],
      [{ auth: { oidc: { clientSecret: 'x' }, clientSecretRef: { name: 'y' } } }, /set one/],
      [{ ingress: { enabled: true } }, /ingress\.host is needed/],
    ];
    for (const [values, words] of refusals) {
      const run = spawn(helm, ['template', 'release', chart, '-f', file(values)]);
      ok(run.code !== 0, `${JSON.stringify(values)} is accepted`);
      match(run.all, words, JSON.stringify(values));
    }
  },

  'each value is a setting in effect, with the origin it came through'() {
    const sections = check(render(full()));
    for (const [path, , section, line, origin] of followed) {
      const shown = sections.get(section)?.find((shown) => shown.startsWith(`${line}  # `));
      ok(shown, `${path}: no \`${line}\` in [${section}]\n${sections.get(section)?.join('\n')}`);
      ok(shown.split('  # ').at(-1).includes(origin), `${path}: the origin of \`${shown}\` is not ${origin}`);
    }
  },

  'no value is left out of that list, and no variable of the program out of the chart'() {
    const schema = JSON.parse(readFileSync(`${chart}/values.schema.json`, 'utf8'));
    const listed = new Set([...followed.map(([path]) => path), ...unfollowed]);
    const leaves = (node, path) => (node.properties && !listed.has(path) ? Object.entries(node.properties).flatMap(([key, inner]) => leaves(inner, `${path}.${key}`)) : [path]);
    for (const key of ['exec', 'auth', 'audit', 'log', 'tls', 'clusters', 'publicURL', 'listen', 'port', 'drainSeconds']) {
      for (const leaf of leaves(schema.properties[key], key)) ok(listed.has(leaf), `${leaf} is not followed to its end`);
    }
    const clusters = followed.find(([path, value]) => path === 'clusters' && value !== undefined)[1];
    const { exec, ...rest } = schema.properties.clusters.items.properties;
    for (const key of Object.keys(rest)) ok(clusters.some((cluster) => key in cluster), `clusters[].${key} is not followed`);
    for (const key of Object.keys(exec.properties)) ok(clusters.some((cluster) => key in (cluster.exec ?? {})), `clusters[].exec.${key} is not followed`);

    const source = readFileSync('server/src/config/environment.rs', 'utf8');
    const variables = [...source.matchAll(/^ {4}[A-Z_]+ = "([A-Z_]+)", "/gm)].map(([, name]) => name);
    ok(variables.length > 20, 'the variables are no longer found in server/src/config/environment.rs');
    const rendered = container(render(full())).env.map(({ name }) => name);
    for (const name of variables) ok(rendered.includes(name) !== isNotOfChart(name), `${name}: rendered ${rendered.includes(name)}`);
    for (const name of rendered) ok(variables.includes(name) || name === 'OIDC_CLIENT_SECRET', `${name} is no variable of the program`);
  },

  'the defaults are the documented ones, and what is missing is named'() {
    const objects = render(least);
    const exec = check(objects).get('exec (where a cluster says nothing)').map((line) => line.split('  # ')[0]);
    equal(exec, ['exec.serverIdleSeconds = 600', 'exec.idleWarnSeconds = 30', 'exec.heartbeatSeconds = 20', 'exec.maxSessionsPerUser = 5', 'exec.maxSessionsTotal = 50']);
    ok(!container(objects).env.some(({ name }) => name === 'PERISCOPE_PROBE_CLUSTERS_ON_BOOT'));
    const run = configCheck(render({}));
    equal(run.code, 3, run.all);
    for (const key of ['issuer', 'clientID', 'redirectURL']) match(run.all, new RegExp(key));
  },

  'an override that makes no sense reaches the program, which ignores it and says so'() {
    const values = { ...least, clusters: [{ name: 'a', backend: 'in-cluster', exec: { serverIdleSeconds: -5 } }] };
    const run = configCheck(render(values));
    equal(run.code, 0, run.all);
    match(run.all, /serverIdleSeconds/);
    match(run.stdout.split('[cluster a]')[1], /exec\.serverIdleSeconds = 600 /);
  },

  'an address of IPv6 may be listened on'() {
    const [line] = check(render({ ...least, listen: '::' })).get('server').filter((line) => line.startsWith('listen = '));
    equal(line, 'listen = [::]:8080  # PORT');
  },

  'the notes name what an installation still lacks, and the address it will have'() {
    const notes = (values) => {
      const run = spawn(helm, ['install', 'release', chart, '--namespace', 'shells', '--dry-run=client', '-f', file(values)]);
      equal(run.code, 0, run.all);
      return run.stdout.split('NOTES:')[1];
    };
    match(notes({}), /NOT READY.*auth\.oidc\.issuer, auth\.oidc\.clientID, auth\.oidc\.redirectURL\./);
    match(notes(least), /answer at https:\/\/shells\.example\.test\.\n/);
  },

  'the mode raw has its prefix, and a client secret may stand in the values'() {
    const auth = { oidc: { ...least.auth.oidc, clientSecret: 'hunter2' }, authorization: { mode: 'raw', groupPrefix: 'oidc:', groupTiers: {} } };
    const sections = check(render({ auth }));
    ok(sections.get('auth authorization').some((line) => line.startsWith('groupPrefix = "oidc:"')));
    ok(sections.get('auth oidc').some((line) => line.startsWith('clientSecret = [redacted]')));
    const maps = render({ auth }).filter(({ kind }) => kind === 'ConfigMap');
    ok(!JSON.stringify(maps).includes('hunter2'), 'the secret is in a ConfigMap');
  },

  'the deployment is one restricted pod that has time to drain'() {
    const deployment = the(render({ ...least, drainSeconds: 45 }), 'Deployment', 'periscope');
    const { replicas, strategy, template, selector } = deployment.spec;
    equal([replicas, strategy.type], [1, 'RollingUpdate']);
    for (const [name, value] of Object.entries(selector.matchLabels)) equal(template.metadata.labels[name], value);
    const pod = template.spec;
    equal(pod.terminationGracePeriodSeconds, 65);
    // The Pod Security Standard `restricted`.
    equal([pod.securityContext.runAsNonRoot, pod.securityContext.seccompProfile.type], [true, 'RuntimeDefault']);
    const [only, ...others] = pod.containers;
    equal(others, []);
    equal([only.securityContext.allowPrivilegeEscalation, only.securityContext.capabilities, only.securityContext.readOnlyRootFilesystem], [false, { drop: ['ALL'] }, true]);
    for (const volume of pod.volumes) ok(volume.configMap ?? volume.secret ?? volume.persistentVolumeClaim ?? volume.emptyDir, volume.name);
    equal([only.livenessProbe.httpGet.path, only.readinessProbe.httpGet.path], ['/healthz', '/readyz']);
    const port = only.ports.find(({ name }) => name === 'http');
    equal(String(port.containerPort), only.env.find(({ name }) => name === 'PORT').value);
    const service = the(render(least), 'Service', 'periscope');
    equal([service.spec.selector, service.spec.ports[0].targetPort], [selector.matchLabels, 'http']);
    equal(pod.serviceAccountName, the(render(least), 'ServiceAccount', 'periscope').metadata.name);
    const tls = container(render({ ...least, tls: { secretName: 'certificate' } }));
    equal([tls.livenessProbe.httpGet.scheme, tls.readinessProbe.httpGet.scheme], ['HTTPS', 'HTTPS']);
  },

  'a role of AWS reaches the pod by its ServiceAccount and its group'() {
    const annotations = { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::111111111111:role/periscope' };
    const objects = render({ ...least, serviceAccount: { annotations } });
    equal(the(objects, 'ServiceAccount', 'periscope').metadata.annotations, annotations);
    equal(the(render(least), 'ServiceAccount', 'periscope').metadata.annotations, undefined);
    // Without a group of the volumes' own the projected token can be read by root alone.
    const { securityContext } = the(objects, 'Deployment', 'periscope').spec.template.spec;
    equal([securityContext.fsGroup, securityContext.runAsGroup], [65532, 65532]);
  },

  'a change of either file restarts the pod'() {
    const checksum = (values) => the(render(values), 'Deployment', 'periscope').spec.template.metadata.annotations['checksum/config'];
    const before = checksum(least);
    equal(checksum({ ...least, drainSeconds: 11 }), before);
    ok(checksum({ ...least, clusters: [{ name: 'other', backend: 'in-cluster' }] }) !== before);
    ok(checksum({ auth: { ...least.auth, authorization: { defaultTier: 'read' } } }) !== before);
  },

  'an audit volume is kept by one process at a time, and outlives the release'() {
    const objects = render({ ...least, audit: { enabled: true } });
    const deployment = the(objects, 'Deployment', 'periscope');
    equal(deployment.spec.strategy, { type: 'Recreate' });
    const claim = the(objects, 'PersistentVolumeClaim', 'periscope-audit');
    equal(claim.metadata.annotations['helm.sh/resource-policy'], 'keep');
    const volume = (of) => the(of, 'Deployment', 'periscope').spec.template.spec.volumes.find(({ name }) => name === 'audit');
    equal(volume(objects).persistentVolumeClaim.claimName, 'periscope-audit');
    const mount = container(objects).volumeMounts.find(({ name }) => name === 'audit');
    equal([mount.mountPath, mount.readOnly], ['/var/lib/periscope/audit', undefined]);

    const theirs = render({ ...least, audit: { enabled: true, persistence: { existingClaim: 'theirs' } } });
    equal(volume(theirs).persistentVolumeClaim.claimName, 'theirs');
    ok(!theirs.some(({ kind }) => kind === 'PersistentVolumeClaim'));
    const none = render({ ...least, audit: { enabled: true, persistence: { enabled: false } } });
    equal(volume(none).emptyDir, {});
    equal(the(none, 'Deployment', 'periscope').spec.strategy.type, 'RollingUpdate');
    ok(volume(render(least)) === undefined);
  },

  'the tiers may what they are documented to, and the gateway may become nobody else'() {
    const objects = render(least);
    for (const tier of tiers) {
      const name = `periscope-tier:${tier}`;
      const role = the(objects, 'ClusterRole', name);
      for (const verb of ['create', 'get']) equal(allows(role, verb, 'pods/exec'), tier !== 'read', `${verb} as ${tier}`);
      for (const verb of ['get', 'list', 'watch']) ok(allows(role, verb, 'pods') && allows(role, verb, 'namespaces'), `${verb} as ${tier}`);
      for (const verb of ['delete', 'update', 'patch', 'create', '*']) ok(!allows(role, verb, 'pods'), `${verb} as ${tier}`);
      for (const verb of ['delete', 'update', 'list', '*']) ok(!allows(role, verb, 'pods/exec'), `${verb} as ${tier}`);
      const binding = the(objects, 'ClusterRoleBinding', name);
      equal(binding.roleRef, { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name });
      equal(binding.subjects, [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name }]);
    }
    const gateway = the(objects, 'ClusterRole', 'periscope-gateway');
    equal(gateway.rules, [
      { apiGroups: [''], resources: ['users'], verbs: ['impersonate'] },
      { apiGroups: [''], resources: ['groups'], verbs: ['impersonate'], resourceNames: tiers.map((tier) => `periscope-tier:${tier}`) },
    ]);
    const binding = the(objects, 'ClusterRoleBinding', 'periscope-gateway');
    equal(binding.subjects, [{ kind: 'ServiceAccount', name: 'periscope', namespace: 'shells' }]);
  },

  'the other modes have roles of their own'() {
    const mode = (mode, more = {}) => render({ auth: { ...least.auth, authorization: { mode } }, ...more });
    const shared = mode('shared');
    const role = the(shared, 'ClusterRole', 'periscope-gateway');
    ok(allows(role, 'create', 'pods/exec') && allows(role, 'get', 'pods/exec') && !allows(role, 'impersonate', 'users') && !allows(role, 'impersonate', 'groups'));
    ok(!shared.some(({ metadata }) => metadata.name.startsWith('periscope-tier:')));
    const raw = the(mode('raw', { rbac: { gateway: { rawGroups: ['oidc:dev'] } } }), 'ClusterRole', 'periscope-gateway');
    equal(raw.rules[1], { apiGroups: [''], resources: ['groups'], verbs: ['impersonate'], resourceNames: ['oidc:dev'] });
    ok(!allows(raw, 'create', 'pods/exec'));
    ok(!render({ ...least, rbac: { create: false } }).some(({ kind }) => kind.startsWith('ClusterRole')));
    const more = render({ ...least, rbac: { tiers: { extraRules: { triage: [{ apiGroups: [''], resources: ['pods/log'], verbs: ['get'] }] } } } });
    equal(tiers.filter((tier) => allows(the(more, 'ClusterRole', `periscope-tier:${tier}`), 'get', 'pods/log')), ['triage']);
  },

  'an ingress leads to the service'() {
    ok(!render(least).some(({ kind }) => kind === 'Ingress'));
    const { spec } = the(render({ ...least, ingress: { enabled: true, host: 'shells.example.test', className: 'nginx', tlsSecretName: 'certificate' } }), 'Ingress', 'periscope');
    equal(spec.ingressClassName, 'nginx');
    equal(spec.tls, [{ hosts: ['shells.example.test'], secretName: 'certificate' }]);
    equal(spec.rules[0].host, 'shells.example.test');
    equal(spec.rules[0].http.paths[0].backend.service, { name: 'periscope', port: { name: 'http' } });
  },
};

let failures = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    test();
    console.log(`ok      ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED  ${name}\n${error.message}`);
  }
}
console.log(`chart: ${Object.keys(tests).length - failures} passed, ${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;

/** Every followed value at once. */
function full() {
  const values = {};
  for (const [path, value] of followed) {
    if (value === undefined) continue;
    const keys = path.split('.');
    const last = keys.pop();
    let node = values;
    for (const key of keys) node = node[key] ??= {};
    node[last] = value;
  }
  return values;
}

function file(values) {
  const path = join(mkdtempSync(join(work, 'values-')), 'values.json');
  writeFileSync(path, JSON.stringify(values));
  return path;
}

/** The manifests, each through Kubernetes' own type. */
function render(values) {
  const rendered = spawn(helm, ['template', 'release', chart, '--namespace', 'shells', '-f', file(values)]);
  equal(rendered.code, 0, rendered.all);
  const decoded = spawn(interop, ['manifests'], { input: rendered.stdout });
  equal(decoded.code, 0, decoded.all);
  return decoded.stdout.trim().split('\n').map((line) => JSON.parse(line));
}

function the(objects, kind, name) {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name === name);
  equal(found.length, 1, `${found.length} of ${kind} ${name}`);
  return found[0];
}

function container(objects) {
  return the(objects, 'Deployment', 'periscope').spec.template.spec.containers[0];
}

/** Whether a role's rules allow this in the core group, for any name. */
function allows(role, verb, resource) {
  return (role.rules ?? []).some((rule) => rule.apiGroups?.some((group) => ['', '*'].includes(group)) && rule.resourceNames === undefined &&
    rule.resources?.some((each) => [resource, '*'].includes(each)) && rule.verbs.some((each) => [verb, '*'].includes(each)));
}

/** `periscope config check` with the pod's variables and files, under a folder that stands in for the pod's root. */
function configCheck(objects) {
  const root = mkdtempSync(join(work, 'pod-'));
  const { env, volumeMounts } = container(objects);
  const { volumes } = the(objects, 'Deployment', 'periscope').spec.template.spec;
  const folders = [];
  for (const { name, mountPath } of volumeMounts) {
    const volume = volumes.find((volume) => volume.name === name);
    ok(volume, `no volume is called ${name}`);
    const data = volume.configMap ? the(objects, 'ConfigMap', volume.configMap.name).data : volume.secret?.secretName === 'periscope-auth' ? the(objects, 'Secret', 'periscope-auth').stringData : {};
    mkdirSync(join(root, mountPath), { recursive: true });
    for (const [key, text] of Object.entries(data)) writeFileSync(join(root, mountPath, key), text);
    if (Object.keys(data).length > 0) folders.push(mountPath);
  }
  const variables = { HOME: root, KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' };
  for (const { name, value, valueFrom } of env) {
    const isFile = folders.some((folder) => value?.startsWith(`${folder}/`));
    variables[name] = valueFrom ? `the ${valueFrom.secretKeyRef.key} of ${valueFrom.secretKeyRef.name}` : isFile ? join(root, value) : value;
  }
  return spawn(periscope, ['config', 'check'], { env: variables });
}

/** The lines of `periscope config check`, by section. */
function check(objects) {
  const run = configCheck(objects);
  equal(run.code, 0, run.all);
  const sections = new Map();
  let lines = [];
  for (const line of run.stdout.split('\n')) {
    const section = /^\[(.+)\]$/.exec(line)?.[1];
    if (section !== undefined) sections.set(section, (lines = []));
    else if (line !== '') lines.push(line);
  }
  return sections;
}

function spawn(program, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  if (error !== undefined) throw error;
  return { code: status, stdout, all: `${stdout}${stderr}` };
}
