import { headers } from "next/headers";
import { auth } from "./auth";

/** Sends a request to the API for the user of the request that Next.js is answering. */
export async function serverFetch(path: string, init: RequestInit = {}): Promise<Response> {
  const request = { headers: await headers() };
  if (!(await auth.api.getSession(request))) return Response.json({ detail: "Sign in first." }, { status: 401 });
  const { token } = await auth.api.getToken(request);
  const authorized = new Headers(init.headers);
  authorized.set("Authorization", `Bearer ${token}`);
  return fetch(`${process.env.API_URL}${path}`, { ...init, headers: authorized, cache: "no-store" });
}
