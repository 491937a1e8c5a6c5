// The frontend's own configuration, as `inv dev` runs it: in a container, on sources that are mounted read-only.
import { mergeConfig } from "vite";

import own from "./frontend/vite.config";

const target = process.env.API_URL;
const dev = mergeConfig(own, {
  cacheDir: "/tmp/vite",
  server: { host: true, port: 5173, strictPort: true, fs: { allow: ["/build"] } },
});

// the first that fits is taken; as at the edge, of the backend's bare paths these two are public, under /api
dev.server.proxy = {
  "/api/health": { target, rewrite: () => "/health" },
  "/api/version": { target, rewrite: () => "/version" },
  ...dev.server.proxy,
};

export default dev;
