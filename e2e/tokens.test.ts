import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type BetterAuthOptions, betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { bearer, jwt } from "better-auth/plugins";
import { decodeProtectedHeader } from "jose";
import { freeOrigin, serveBetterAuth, startBackend } from "./servers";

const secret = randomBytes(32).toString("base64");
const emailAndPassword = { enabled: true };
const memory = () => memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] });

/** Better Auth makes a key when somebody first asks for one. The backend asks when it starts, so a test asks before. */
const makeKey = (origin: string) => fetch(`${origin}/api/auth/jwks`);

/** Signs up, and returns the tokens and cookies of the answer. */
async function signUp(origin: string) {
  const response = await fetch(`${origin}/api/auth/sign-up/email`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Origin: origin },
    body: JSON.stringify({ name: "Ada", email: "ada@example.com", password: "correct horse battery staple" }),
  });
  const { token, user } = await response.json();
  const pairs = response.headers.getSetCookie().map((cookie) => cookie.split(";")[0]!);
  const cookies = new Map(pairs.map((pair) => pair.split("=", 2) as [string, string]));
  return { userId: user.id, sessionToken: token, cookie: pairs.join("; "), cookies, headers: response.headers };
}

async function getToken(origin: string, cookie: string): Promise<string> {
  const response = await fetch(`${origin}/api/auth/token`, { headers: { Cookie: cookie } });
  return (await response.json()).token;
}

/** Creates a task, so that the answer names the user. */
async function createTask(url: string, token: string) {
  const response = await fetch(`${url}/api/tasks`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ title: "Buy milk" }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

for (const alg of ["EdDSA", "ES256", "ES512", "RS256", "PS256"] as const) {
  test(`accepts ${alg} under the published keys`, async () => {
    const origin = await freeOrigin();
    const plugins = [jwt({ jwks: { keyPairConfig: { alg } } })];
    const auth = betterAuth({ baseURL: origin, secret, database: memory(), emailAndPassword, plugins });
    await using betterAuthServer = await serveBetterAuth(auth, origin);
    await makeKey(origin);
    await using backend = await startBackend({ BETTER_AUTH_URL: origin });
    const ada = await signUp(origin);
    const token = await getToken(origin, ada.cookie);
    assert.equal(decodeProtectedHeader(token).alg, alg);
    const answer = await createTask(backend.url, token);
    assert.equal(answer.status, 201);
    assert.equal(answer.body.user_id, ada.userId);
  });
}

test("accepts a new key, and the old one while it is published", async () => {
  const origin = await freeOrigin();
  // The backend fetches the keys at most every 10 seconds.
  const rotationInterval = 10;
  const plugins = [jwt({ jwks: { rotationInterval } })];
  const auth = betterAuth({ baseURL: origin, secret, database: memory(), emailAndPassword, plugins });
  await using betterAuthServer = await serveBetterAuth(auth, origin);
  await makeKey(origin);
  await using backend = await startBackend({ BETTER_AUTH_URL: origin });
  const { cookie } = await signUp(origin);
  const before = await getToken(origin, cookie);
  assert.equal((await createTask(backend.url, before)).status, 201);
  await sleep(rotationInterval * 1000);
  const after = await getToken(origin, cookie);
  assert.notEqual(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid);
  assert.equal((await createTask(backend.url, after)).status, 201);
  assert.equal((await createTask(backend.url, before)).status, 201);
});

test("accepts tokens while Better Auth is down, and answers 503 while it has no keys", async () => {
  const origin = await freeOrigin();
  const auth = betterAuth({ baseURL: origin, secret, database: memory(), emailAndPassword, plugins: [jwt()] });
  await using betterAuthServer = await serveBetterAuth(auth, origin);
  await makeKey(origin);
  await using running = await startBackend({ BETTER_AUTH_URL: origin });
  const token = await getToken(origin, (await signUp(origin)).cookie);
  assert.equal((await createTask(running.url, token)).status, 201);

  await betterAuthServer.stop();
  assert.equal((await createTask(running.url, token)).status, 201);
  await using fresh = await startBackend({ BETTER_AUTH_URL: origin });
  const refused = await createTask(fresh.url, token);
  assert.equal(refused.status, 503);
  assert.deepEqual(Object.keys(refused.body), ["detail"]);
  const wait = Number(refused.headers.get("Retry-After"));
  assert.ok(wait >= 1 && wait <= 10, `Retry-After is ${wait}`);

  await using again = await serveBetterAuth(auth, origin);
  await sleep(wait * 1000);
  assert.equal((await createTask(fresh.url, token)).status, 201);
});

test("accepts keys at another address", async () => {
  const origin = await freeOrigin();
  const plugins = [jwt({ jwks: { jwksPath: "/.well-known/jwks.json" } })];
  const auth = betterAuth({ baseURL: origin, secret, database: memory(), emailAndPassword, plugins });
  await using betterAuthServer = await serveBetterAuth(auth, origin);
  const keys = `${origin}/api/auth/.well-known/jwks.json`;
  assert.equal((await fetch(keys)).status, 200);
  await using backend = await startBackend({ BETTER_AUTH_URL: origin, BETTER_AUTH_JWKS_URL: keys });
  const token = await getToken(origin, (await signUp(origin)).cookie);
  assert.equal((await createTask(backend.url, token)).status, 201);
  await using unaware = await startBackend({ BETTER_AUTH_URL: origin });
  assert.equal((await createTask(unaware.url, token)).status, 503);
});

for (const pinned of [false, true]) {
  const name = pinned ? "accepts a second host that names the first" : "refuses a second host that names itself";
  test(`${name} as the issuer`, async () => {
    const origin = await freeOrigin();
    const other = origin.replace("localhost", "127.0.0.1");
    process.env.BETTER_AUTH_URL = origin;
    const plugin = pinned
      ? jwt({ jwt: { issuer: process.env.BETTER_AUTH_URL, audience: process.env.BETTER_AUTH_URL } })
      : jwt();
    const baseURL = { allowedHosts: [new URL(origin).host, new URL(other).host] };
    const auth = betterAuth({ baseURL, secret, database: memory(), emailAndPassword, plugins: [plugin] });
    await using betterAuthServer = await serveBetterAuth(auth, origin);
    await makeKey(origin);
    await using backend = await startBackend({ BETTER_AUTH_URL: origin });
    const { cookie } = await signUp(origin);
    assert.equal((await createTask(backend.url, await getToken(origin, cookie))).status, 201);
    const { status, body } = await createTask(backend.url, await getToken(other, cookie));
    assert.equal(status, pinned ? 201 : 401);
    if (!pinned) assert.deepEqual(body, { detail: `Token issuer is '${other}', expected '${origin}'.` });
  });
}

test("accepts tokens after a change of Better Auth's secret once its table of keys is empty", async () => {
  const origin = await freeOrigin();
  const tables = { user: [], session: [], account: [], verification: [], jwks: [] };
  const options = { baseURL: origin, database: memoryAdapter(tables), emailAndPassword, plugins: [jwt()] };
  {
    await using betterAuthServer = await serveBetterAuth(betterAuth({ ...options, secret }), origin);
    await makeKey(origin);
  }
  const changed = betterAuth({ ...options, secret: randomBytes(32).toString("base64") });
  await using betterAuthServer = await serveBetterAuth(changed, origin);
  const { cookie } = await signUp(origin);
  const refused = await fetch(`${origin}/api/auth/token`, { headers: { Cookie: cookie } });
  assert.deepEqual([refused.status, await refused.text()], [500, ""]);
  tables.jwks.length = 0;
  const token = await getToken(origin, cookie);
  await using backend = await startBackend({ BETTER_AUTH_URL: origin });
  assert.equal((await createTask(backend.url, token)).status, 201);
});

type SignedUp = Awaited<ReturnType<typeof signUp>> & { emailVerificationToken: string };
type Refused = {
  name: string;
  options?: BetterAuthOptions;
  token: (client: SignedUp) => string | null | undefined;
  form: RegExp;
  detail: string;
};

const threeSegments = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const notAJwt = "This is not a JWT. If it is a Better Auth session token, get a JWT from /api/auth/token.";
const sessionData = ({ cookies }: SignedUp) => cookies.get("better-auth.session_data");

const refused: Refused[] = [
  {
    name: "a session token",
    token: (client) => client.sessionToken,
    form: /^\w{32}$/,
    detail: notAJwt,
  },
  {
    name: "a signed session token",
    options: { plugins: [jwt(), bearer()] },
    token: (client) => client.headers.get("set-auth-token"),
    form: /^\w{32}\.[\w+/=%]+$/,
    detail: notAJwt,
  },
  {
    name: "an e-mail verification token",
    token: (client) => client.emailVerificationToken,
    form: threeSegments,
    detail: "Token is invalid.",
  },
  {
    name: "a cookie cache under the secret",
    options: { session: { cookieCache: { enabled: true, strategy: "jwt" } } },
    token: sessionData,
    form: threeSegments,
    detail: "Token is invalid.",
  },
  {
    name: "a cookie cache under the published keys",
    options: {
      session: { cookieCache: { enabled: true, strategy: "jwt" } },
      plugins: [jwt({ sessionCookieCache: true })],
    },
    token: sessionData,
    form: threeSegments,
    detail: "Token is invalid.",
  },
  {
    name: "an encrypted cookie cache",
    options: { session: { cookieCache: { enabled: true, strategy: "jwe" } } },
    token: sessionData,
    form: /^[\w-]+\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+$/,
    detail: "This token is encrypted. Get a signed JWT from /api/auth/token.",
  },
];

for (const { name, options, token, form, detail } of refused) {
  test(`refuses ${name}`, async () => {
    const origin = await freeOrigin();
    let emailVerificationToken = "";
    const auth = betterAuth({
      baseURL: origin,
      secret,
      database: memory(),
      emailAndPassword,
      emailVerification: {
        sendOnSignUp: true,
        sendVerificationEmail: async (message) => void (emailVerificationToken = message.token),
      },
      plugins: [jwt()],
      ...options,
    });
    await using betterAuthServer = await serveBetterAuth(auth, origin);
    // With both settings, so that no token is refused for its algorithm only.
    await makeKey(origin);
    await using backend = await startBackend({ BETTER_AUTH_URL: origin, BETTER_AUTH_SECRET: secret });
    const client = await signUp(origin);
    const sent = token({ ...client, emailVerificationToken }) ?? "";
    assert.match(sent, form);
    const answer = await createTask(backend.url, sent);
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get("WWW-Authenticate"), 'Bearer error="invalid_token"');
    assert.deepEqual(answer.body, { detail });
    assert.equal((await createTask(backend.url, await getToken(origin, client.cookie))).status, 201);
  });
}
