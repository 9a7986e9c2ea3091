import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Task = components["schemas"]["Task"];
export type Problem = components["schemas"]["ErrorResponse"] | components["schemas"]["ValidationErrorResponse"];
export type Status = NonNullable<paths["/api/tasks"]["get"]["parameters"]["query"]>["status"];

let token: string | undefined;

/** To be called on signing out: Better Auth's sign-out ends the session, not the tokens that it gave. */
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

/** Sends the request, and once more with a new token where the old one is refused. */
async function authorizedFetch(request: Request): Promise<Response> {
  const response = await sendWithToken(request);
  if (response.status !== 401) return response;
  forgetToken();
  return sendWithToken(request);
}

/** A line for each field that is wrong, or what else is. */
export function describe(problem: Problem): string {
  if (!("errors" in problem)) return problem.detail;
  return Object.entries(problem.errors)
    .map(([field, reasons]) => `${field}: ${reasons.join(" ")}`)
    .join("\n");
}

export const api = createClient<paths>({ baseUrl: process.env.NEXT_PUBLIC_API_URL, fetch: authorizedFetch });
