import type { NextConfig } from "next";

const config: NextConfig = {
  // Not "/api/:path*": a rewrite wins over the route handler of Better Auth, /api/auth/[...all].
  rewrites: async () => [
    { source: "/api/tasks", destination: `${process.env.API_URL}/api/tasks` },
    { source: "/api/tasks/:path*", destination: `${process.env.API_URL}/api/tasks/:path*` },
  ],
};

export default config;

// As in a new application
config.cacheComponents = true;
// This folder, and not the one above it, which has a lock file, too.
config.turbopack = { root: import.meta.dirname };
