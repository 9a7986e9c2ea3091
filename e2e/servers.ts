import { type ChildProcess, type SpawnOptions, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toNodeHandler } from "better-auth/node";
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

/** Serves Better Auth at its origin. */
export async function serveBetterAuth(auth: Parameters<typeof toNodeHandler>[0], origin: string) {
  const server = createServer(toNodeHandler(auth)).listen(Number(new URL(origin).port));
  await once(server, "listening");
  const stop = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  return { stop, [Symbol.asyncDispose]: () => (server.listening ? stop() : Promise.resolve()) };
}

// Clean up when the tests are interrupted, too.
const cleanups = new Set<() => void>();
process.on("exit", () => cleanups.forEach((cleanup) => cleanup()));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** Runs the cleanup when the process exits, unless the returned function was called before. */
export function onExit(cleanup: () => void): () => void {
  cleanups.add(cleanup);
  return () => cleanups.delete(cleanup);
}

/** Resolves when the process has ended. Call it before the signal that ends the process. */
export async function exitOf(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

let backends = 0;

/**
 * Starts the backend of `make serve` or, with DEBUG, of `make run`, with these settings only and its own database. The
 * URL is that of its recorder, by default with a free port. The backend logs at level DEBUG, alternately as text and as
 * JSON. At the end its log is compared with the recorded requests.
 */
export async function startBackend(settings: Record<string, string>, url?: string) {
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
  url ??= await freeOrigin();
  const recorded = await recorder(Number(new URL(url).port), port, settings.BETTER_AUTH_SECRET);
  const kill = () => {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  const forget = onExit(kill);
  const stop = async () => {
    recorded.stop();
    const exited = exitOf(child);
    kill();
    await exited;
    forget();
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
  return { url, network: recorded.network, [Symbol.asyncDispose]: dispose };
}

/** Waits until the process answers at the URL. */
export async function ready(url: string, child: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(50)) {
    if (child.exitCode !== null) throw new Error(`exit code ${child.exitCode}`);
    const response = await fetch(url).catch(() => null);
    if (response && response.status < 500) return;
  }
  throw new Error("not ready after 30 s");
}
