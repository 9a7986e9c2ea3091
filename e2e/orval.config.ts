import { defineConfig } from "orval";

const input = "openapi.json";
const baseUrl = { runtime: "process.env.NEXT_PUBLIC_API_URL" };

export default defineConfig({
  fetch: {
    input,
    output: { client: "fetch", baseUrl, target: "generated/orval/fetch.ts", schemas: "generated/orval/model" },
  },
  // A client that validates answers, and throws an error when one is not 2xx.
  validating: {
    input,
    output: {
      client: "fetch",
      baseUrl,
      target: "generated/orval/validating.ts",
      schemas: { type: "zod", path: "generated/orval/schemas" },
      override: { fetch: { runtimeValidation: true, forceSuccessResponse: true } },
    },
  },
  zod: {
    input,
    output: {
      client: "zod",
      target: "generated/orval/zod.ts",
      override: { zod: { generateEachHttpStatus: true } },
    },
  },
});
