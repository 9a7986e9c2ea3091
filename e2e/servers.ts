import { type ChildProcess, type SpawnOptions, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toNodeHandler } from "better-auth/node";
import { build } from "esbuild";
import { recorder } from "./log";

const here = import.meta.dirname;
const project = join(here, "..");

/** Logs and screenshots. */
export const output = join(here, "output");
mkdirSync(output, { recursive: true });

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0);
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** An origin with a free port. `localhost`, because Better Auth refuses a sign-in from another name for this machine. */
export const freeOrigin = async () => `http://localhost:${await freePort()}`;

/** Serves Better Auth at its origin and, if an API is given, the page that uses both. */
export async function serveFrontend(auth: Parameters<typeof toNodeHandler>[0], origin: string, api?: string) {
  const files = new Map<string, [type: string, content: string]>();
  if (api) {
    files.set("/", ["text/html", readFileSync(join(here, "page/index.html"), "utf8")]);
    files.set("/main.js", ["text/javascript", await bundle(api)]);
  }
  const betterAuth = toNodeHandler(auth);
  const server = createServer((request, response) => {
    const file = files.get(request.url ?? "");
    if (!file) return betterAuth(request, response);
    response.writeHead(200, { "Content-Type": file[0] }).end(file[1]);
  });
  server.listen(Number(new URL(origin).port));
  await once(server, "listening");
  const stop = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  return { stop, [Symbol.asyncDispose]: () => (server.listening ? stop() : Promise.resolve()) };
}

async function bundle(api: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(here, "page/main.ts")],
    bundle: true,
    write: false,
    format: "esm",
    // Next.js does the same with variables of this prefix.
    define: { "process.env.NEXT_PUBLIC_API_URL": JSON.stringify(api) },
  });
  return outputFiles[0]!.text;
}

// Clean up when the tests are interrupted, too.
const cleanups = new Set<() => void>();
process.on("exit", () => cleanups.forEach((cleanup) => cleanup()));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

let backends = 0;

/**
 * Starts the backend of `make serve` or, with DEBUG, of `make run`, with these settings only and its own database. It
 * logs at level DEBUG, alternately as text and as JSON. At the end its log is compared with the recorded requests.
 */
export async function startBackend(settings: Record<string, string>) {
  const folder = mkdtempSync(join(tmpdir(), "todo-e2e-"));
  const port = await freePort();
  const env = {
    PATH: process.env.PATH,
    PYTHON_DOTENV_DISABLED: "true",
    DATABASE_URL: `sqlite:///${folder}/db.sqlite3`,
    LOG_LEVEL: "DEBUG",
    LOG_FORMAT: backends++ % 2 ? "json" : "text",
    ...settings,
  };
  const log = join(output, `backend-${port}.log`);
  const descriptor = openSync(log, "w");
  const options: SpawnOptions = { cwd: project, env, stdio: ["ignore", descriptor, descriptor] };
  execFileSync(".venv/bin/python", ["manage.py", "migrate"], options);
  const child =
    settings.DEBUG === "true"
      ? spawn(".venv/bin/python", ["manage.py", "runserver", "--noreload", `${port}`], options)
      : spawn("make", ["serve", `PORT=${port}`], options);
  closeSync(descriptor);
  const recorderPort = await freePort();
  const url = `http://localhost:${recorderPort}`;
  const recorded = await recorder(recorderPort, port, settings.BETTER_AUTH_SECRET);
  const kill = () => {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  cleanups.add(kill);
  const stop = async () => {
    recorded.stop();
    const exited = child.exitCode === null && child.signalCode === null ? once(child, "exit") : null;
    kill();
    await exited;
    cleanups.delete(kill);
  };
  try {
    await ready(`http://localhost:${port}/readyz`, child);
  } catch (error) {
    await stop();
    throw new Error(`The backend does not start; see ${log}.`, { cause: error });
  }
  const dispose = async () => {
    await stop();
    recorded.check(readFileSync(log, "utf8"));
  };
  return { url, [Symbol.asyncDispose]: dispose };
}

async function ready(url: string, child: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(50)) {
    if (child.exitCode !== null) throw new Error(`exit code ${child.exitCode}`);
    const response = await fetch(url).catch(() => null);
    if (response?.ok) return;
  }
  throw new Error("not ready after 30 s");
}
