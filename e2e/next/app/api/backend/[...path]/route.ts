import { serverFetch } from "@/lib/server-fetch";

async function forward(request: Request, { params }: { params: Promise<{ path: string[] }> }) {
  const path = `/api/${(await params).path.join("/")}${new URL(request.url).search}`;
  const headers = [...request.headers].filter(([name]) => ["content-type", "idempotency-key"].includes(name));
  // Not request.body: a stream is sent without a length, and the API answers 411.
  const body = (await request.text()) || undefined;
  const answer = await serverFetch(path, { method: request.method, headers, body });
  if (!answer) return Response.json({ detail: "Sign in first." }, { status: 401 });
  return new Response(answer.body, { status: answer.status, headers: { "Content-Type": "application/json" } });
}

export { forward as GET, forward as POST, forward as PUT, forward as PATCH, forward as DELETE };
