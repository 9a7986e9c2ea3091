import { defineConfig } from "@hey-api/openapi-ts";

export default defineConfig({
  input: "openapi.json",
  output: "generated/hey-api",
  plugins: ["@hey-api/client-fetch", "zod", { name: "@hey-api/sdk", validator: { response: "zod" } }],
  logs: { level: "warn" },
});
