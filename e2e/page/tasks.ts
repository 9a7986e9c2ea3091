import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Task = components["schemas"]["Task"];
export type Problem = components["schemas"]["Error"] | components["schemas"]["ValidationError"];
export type Status = NonNullable<paths["/api/tasks"]["get"]["parameters"]["query"]>["status"];

let token: string | undefined;

/** Call this when the user signs out. Better Auth ends the session, but the token stays valid. */
export function forgetToken(): void {
  token = undefined;
}

async function getToken(): Promise<string> {
  const response = await fetch("/api/auth/token");
  if (!response.ok) throw new Error("Sign in again.");
  return (await response.json()).token;
}

async function sendWithToken(request: Request): Promise<Response> {
  token ??= await getToken();
  // A clone, because a request's body can be sent only once.
  const attempt = request.clone();
  attempt.headers.set("Authorization", `Bearer ${token}`);
  return fetch(attempt);
}

/** Sends the request, and once more with a new token if the old one is refused. */
async function authorizedFetch(request: Request): Promise<Response> {
  const response = await sendWithToken(request);
  if (response.status !== 401) return response;
  forgetToken();
  return sendWithToken(request);
}

/** The messages of all invalid fields, a line each, or else `detail`. */
export function describe(problem: Problem): string {
  if (!("errors" in problem)) return problem.detail;
  return Object.entries(problem.errors)
    .map(([field, reasons]) => `${field}: ${reasons.join(" ")}`)
    .join("\n");
}

export const api = createClient<paths>({ baseUrl: process.env.NEXT_PUBLIC_API_URL, fetch: authorizedFetch });
