import { defineConfig } from 'vitest/config';

/** Where `vite` (development only) forwards the API: a gateway or `npm run fake-gateway`. */
const gateway = process.env['PERISCOPE_URL'] ?? 'http://127.0.0.1:8090';

export default defineConfig({
  base: '/',
  server: {
    // The gateway compares Origin with Host, so the proxy must not rewrite Host.
    proxy: { '/api': { target: gateway, ws: true, changeOrigin: false } },
  },
  build: {
    target: 'es2023',
    // Nothing may become a data: or inline resource, so that the policy needs no exception for it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    chunkSizeWarningLimit: 700,
  },
  test: { include: ['test/**/*.test.ts'], environment: 'node' },
});
