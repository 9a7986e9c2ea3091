import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Task = components["schemas"]["Task"];
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

/** Sends the request, and once more with a new token where the token has expired. Throws the API's error. */
async function authorizedFetch(request: Request): Promise<Response> {
  let response = await sendWithToken(request);
  if (response.ok) return response;
  let { detail } = await response.json();
  if (response.status === 401 && detail === "Token has expired.") {
    forgetToken();
    response = await sendWithToken(request);
    if (response.ok) return response;
    ({ detail } = await response.json());
  }
  throw new Error(detail);
}

export const api = createClient<paths>({ baseUrl: process.env.NEXT_PUBLIC_API_URL, fetch: authorizedFetch });
