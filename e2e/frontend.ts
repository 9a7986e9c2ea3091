import { type StdioOptions, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { exitOf, onExit, output, ready } from "./servers";

const folder = join(import.meta.dirname, "next");
const next = "node_modules/next/dist/bin/next";
const base = { PATH: process.env.PATH, HOME: process.env.HOME, NEXT_TELEMETRY_DISABLED: "1" };

/** Builds the application. The API's address becomes a part of the browser's code and of the rewrites. */
export function buildFrontend(origin: string, api: string): void {
  const log = join(output, "next-build.log");
  const descriptor = openSync(log, "w");
  const addresses = { API_URL: api, NEXT_PUBLIC_API_URL: api, BETTER_AUTH_URL: origin };
  // The server reads the secret when it starts, but the build wants one, too.
  const env = { ...base, ...addresses, BETTER_AUTH_SECRET: randomBytes(32).toString("base64") };
  try {
    execFileSync(process.execPath, [next, "build"], { cwd: folder, env, stdio: ["ignore", descriptor, descriptor] });
  } catch (error) {
    throw new Error(`Next.js does not build; see ${log}.`, { cause: error });
  } finally {
    closeSync(descriptor);
  }
}

type Settings = { SIGNING: string; BETTER_AUTH_SECRET: string };

/** Starts the build at its origin, with its own database of users. */
export async function startFrontend(origin: string, api: string, settings: Settings) {
  const database = mkdtempSync(join(tmpdir(), "todo-e2e-"));
  const log = join(output, `next-${settings.SIGNING}.log`);
  const addresses = { API_URL: api, BETTER_AUTH_URL: origin };
  const env = { ...base, ...addresses, ...settings, DATABASE: join(database, "users.sqlite3") };
  const descriptor = openSync(log, "a");
  const stdio: StdioOptions = ["ignore", descriptor, descriptor];
  execFileSync(process.execPath, ["--import", "tsx", "migrate.ts"], { cwd: folder, env, stdio });

  /** Starts Next.js with a clock that is so many seconds behind. */
  const start = async (behind: number) => {
    const options = `--import ${pathToFileURL(join(folder, "clock.mjs"))}`;
    const child = spawn(process.execPath, [next, "start", "-p", new URL(origin).port], {
      cwd: folder,
      env: { ...env, NODE_OPTIONS: options, CLOCK_BEHIND: String(behind) },
      stdio,
    });
    const forget = onExit(() => child.kill());
    const stop = async () => {
      const exited = exitOf(child);
      child.kill();
      await exited;
      forget();
    };
    await ready(`${origin}/api/auth/jwks`, child).catch(async (error) => {
      await stop();
      throw new Error(`Next.js does not start; see ${log}.`, { cause: error });
    });
    return stop;
  };

  let stop = await start(0);
  return {
    async restart(behind: number) {
      await stop();
      stop = await start(behind);
    },
    async [Symbol.asyncDispose]() {
      await stop();
      closeSync(descriptor);
      rmSync(database, { recursive: true, force: true });
    },
  };
}
