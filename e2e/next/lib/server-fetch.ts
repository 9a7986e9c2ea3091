import { headers } from "next/headers";
import { auth } from "./auth";

/** Sends a request to the API for the user of the request that Next.js is answering. Returns null without a user. */
export async function serverFetch(path: string, init: RequestInit = {}): Promise<Response | null> {
  const request = { headers: await headers() };
  if (!(await auth.api.getSession(request))) return null;
  const { token } = await auth.api.getToken(request);
  const authorized = new Headers(init.headers);
  authorized.set("Authorization", `Bearer ${token}`);
  return fetch(`${process.env.API_URL}${path}`, { ...init, headers: authorized, cache: "no-store" });
}
