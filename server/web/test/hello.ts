/** A complete `hello`, for tests. */
export const HELLO = {
  type: 'hello',
  sessionId: 's-1',
  cluster: 'modern',
  namespace: 'default',
  pod: 'shell',
  container: 'app',
  command: ['sh'],
  tty: true,
  transport: 'ws',
  subprotocol: 'v5.channel.k8s.io',
  idleSeconds: 600,
  idleWarnSeconds: 30,
  heartbeatSeconds: 20,
  flow: 'ack',
  identity: { user: 'dev@localhost', groups: ['team'] },
};
