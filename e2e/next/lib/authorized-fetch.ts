let token: string | undefined;

async function getToken(): Promise<string> {
  const response = await fetch("/api/auth/token"); // with the session's cookie
  if (response.status === 401) throw new Error("Sign in again.");
  if (!response.ok) throw new Error(`/api/auth/token answers ${response.status}.`); // 404 without the jwt() plugin
  return (await response.json()).token;
}

/** Sends a request with a token, and once more with a new token if the answer is 401. */
export async function authorizedFetch(url: string, init: RequestInit = {}): Promise<Response> {
  const send = async () => {
    token ??= await getToken();
    const headers = new Headers(init.headers);
    headers.set("Authorization", `Bearer ${token}`);
    return fetch(url, { ...init, headers });
  };
  const response = await send();
  if (response.status !== 401) return response;
  token = undefined;
  return send();
}
