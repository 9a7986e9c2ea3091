import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { before, test } from "node:test";
import { decodeJwt, decodeProtectedHeader } from "jose";
import type { Page, Response as Answer } from "playwright-core";
import { launchBrowser } from "./browser";
import { buildFrontend, startFrontend } from "./frontend";
import { fromTask, toTask } from "./next/lib/adapter";
import { freeOrigin, output, startBackend } from "./servers";

const secret = randomBytes(32).toString("base64");
const origin = await freeOrigin();
const api = await freeOrigin();

type Mode = { name: string; SIGNING: string; algorithm: string; settings: Record<string, string> };

const modes: Mode[] = [
  { name: "published keys", SIGNING: "published-keys", algorithm: "EdDSA", settings: { BETTER_AUTH_URL: origin } },
  { name: "shared secret", SIGNING: "shared-secret", algorithm: "HS256", settings: { BETTER_AUTH_SECRET: secret } },
];

const password = "correct horse battery staple";
const wide = { width: 1280, height: 800 };
const narrow = { width: 390, height: 844 };

async function enter(page: Page, button: "Sign in" | "Sign up", email: string): Promise<void> {
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: button }).click();
  await page.getByText(email).waitFor();
}

/** Waits for the action, and then until the page shows these titles. */
async function andSee(page: Page, action: Promise<unknown>, titles: string[]): Promise<void> {
  await action;
  await page.waitForFunction(
    (expected) => {
      const items = Array.from(document.querySelectorAll("li"));
      const shown = items.map((item) => item.querySelector<HTMLInputElement>("[name=title]")?.value ?? item.innerText);
      return JSON.stringify(shown.map((title) => title.split("\n")[0]!.trim())) === expected;
    },
    JSON.stringify(titles),
  );
}

async function create(page: Page, title: string, description = ""): Promise<void> {
  await page.getByLabel("New title").fill(title);
  await page.getByLabel("New description").fill(description);
  await page.getByRole("button", { name: "Create" }).click();
}

const row = (page: Page, position: number) => page.getByRole("listitem").nth(position);

const withoutId = (answer: string) => answer.replace(/(?<=tasks\/)\d+/, "N");

/** Waits until the task at this position is shown as completed, or as pending. */
async function seeCompleted(page: Page, position: number, completed: boolean): Promise<void> {
  const state = completed ? ":checked" : ":not(:checked)";
  await page.locator(`li:nth-child(${position + 1}) [type=checkbox]${state}`).waitFor({ timeout: 5_000 });
}

before(() => buildFrontend(origin, api));

for (const { name, SIGNING, algorithm, settings } of modes) {
  test(`A Next.js frontend, with tokens under the ${name}`, async (t) => {
    await using frontend = await startFrontend(origin, api, { SIGNING, BETTER_AUTH_SECRET: secret });
    await using backend = await startBackend({ ...settings, CORS_ALLOWED_ORIGINS: origin }, api);
    const { network } = backend;
    await using browser = await launchBrowser();
    const page = await browser.newPage({ viewport: wide });
    page.setDefaultTimeout(10_000);
    /** On a desktop and on a telephone, where nothing may be wider than the screen. */
    const screenshot = async (name: string) => {
      const path = join(output, `${SIGNING}-${name}`);
      await page.screenshot({ path: `${path}.png`, fullPage: true });
      await page.setViewportSize(narrow);
      await page.screenshot({ path: `${path}-narrow.png`, fullPage: true });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), narrow.width);
      await page.setViewportSize(wide);
    };
    const alertShows = (text: string) => page.getByRole("alert").filter({ hasText: text }).waitFor();
    let token = "";
    page.on("request", (request) => {
      const header = request.url().startsWith(api) && request.headers()["authorization"];
      if (header) token = header.replace("Bearer ", "");
    });
    const milliseconds: Record<string, number[]> = {};
    page.on("requestfinished", (request) => {
      const duration = request.timing().responseEnd;
      if (request.url().startsWith(api)) (milliseconds[request.method()] ??= []).push(duration);
    });
    /** The statuses of the API's answers to the browser while the action runs. */
    const statuses = async (action: () => Promise<unknown>) => {
      const seen: number[] = [];
      const note = (answer: Answer) => answer.url().startsWith(api) && seen.push(answer.status());
      page.on("response", note);
      await action();
      page.off("response", note);
      return seen;
    };
    /** Sends a request that does not come from the page. */
    const elsewhere = (path: string, method = "GET", body?: object) =>
      fetch(`${api}/api/tasks${path}`, {
        method,
        headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });

    await t.test("signs up in a client component [FR-001]", async () => {
      await page.goto(origin);
      await page.getByRole("button", { name: "Sign up" }).waitFor();
      await screenshot("signed-out");
      const list = page.waitForResponse(`${api}/api/tasks?status=all`);
      await enter(page, "Sign up", "ada@example.com");
      assert.deepEqual(await (await list).json(), []);
      assert.equal(decodeProtectedHeader(token).alg, algorithm);
    });

    await t.test("signs out, and in again", async () => {
      await page.getByRole("button", { name: "Sign out" }).click();
      await enter(page, "Sign in", "ada@example.com");
    });

    await t.test("creates tasks and lists them, newest first [SC-001]", async () => {
      const created = page.waitForResponse((response) => response.status() === 201);
      await create(page, "Buy milk", "Two bottles");
      assert.equal((await created).headers()["location"], "/api/tasks/1");
      await andSee(page, page.getByRole("listitem").first().waitFor(), ["Buy milk"]);
      await andSee(page, create(page, "Call Bob"), ["Call Bob", "Buy milk"]);
      assert.equal(await row(page, 1).getByLabel("Description").inputValue(), "Two bottles");
    });

    await t.test("creates one task, although two answers are lost", async () => {
      // Two, because Chromium itself sends a request again when a connection breaks that it has used before.
      network.lose("POST", 2);
      const before = network.answers().length;
      await create(page, "Only once");
      await page.waitForResponse((response) => response.status() === 201);
      await andSee(page, Promise.resolve(), ["Only once", "Call Bob", "Buy milk"]);
      const creates = network.answers().slice(before).filter((answer) => answer.startsWith("POST"));
      assert.deepEqual(creates, Array(3).fill("POST /api/tasks 201"));
      await andSee(page, row(page, 0).getByRole("button", { name: "Delete" }).click(), ["Call Bob", "Buy milk"]);
    });

    await t.test("shows every error of a refused task [SC-006]", async () => {
      await create(page, " ", "x".repeat(1001));
      await alertShows("title: This field may not be blank.");
      await alertShows("description: Ensure this field has no more than 1000 characters.");
      await screenshot("error");
    });

    await t.test("toggles a task before the answer comes [SC-001]", async () => {
      const release = network.hold();
      await row(page, 1).getByLabel("Completed").click();
      await seeCompleted(page, 1, true);
      const toggled = page.waitForResponse((response) => response.url() === `${api}/api/tasks/1/complete`);
      release();
      assert.equal((await (await toggled).json()).completed, true);
      await page.reload();
      await andSee(page, row(page, 1).waitFor(), ["Call Bob", "Buy milk"]);
      await seeCompleted(page, 0, false);
      await seeCompleted(page, 1, true);
    });

    await t.test("takes a toggle back if the API cannot be reached", async () => {
      network.disconnect();
      try {
        await row(page, 0).getByLabel("Completed").click();
        await alertShows("Failed to fetch");
        await seeCompleted(page, 0, false);
        await screenshot("rollback");
      } finally {
        await network.connect();
      }
      await andSee(page, page.reload(), ["Call Bob", "Buy milk"]);
      await seeCompleted(page, 0, false);
    });

    await t.test("takes a toggle back if the task was deleted elsewhere", async () => {
      await andSee(page, create(page, "Gone"), ["Gone", "Call Bob", "Buy milk"]);
      const [{ id }] = await (await elsewhere("")).json();
      assert.equal((await elsewhere(`/${id}`, "DELETE")).status, 204);
      const release = network.hold();
      await row(page, 0).getByLabel("Completed").click();
      await seeCompleted(page, 0, true);
      release();
      await alertShows("Not found.");
      await andSee(page, Promise.resolve(), ["Call Bob", "Buy milk"]);
    });

    await t.test("filters tasks", async () => {
      await andSee(page, page.getByLabel("Show").selectOption("pending"), ["Call Bob"]);
      await andSee(page, page.getByLabel("Show").selectOption("completed"), ["Buy milk"]);
      await screenshot("completed");
      await andSee(page, page.getByLabel("Show").selectOption("all"), ["Call Bob", "Buy milk"]);
    });

    await t.test("edits a task's title and description [SC-001]", async () => {
      await row(page, 0).getByLabel("Title").fill("Call Bob back");
      await row(page, 0).getByLabel("Description").fill("After six");
      const saved = page.waitForResponse((response) => response.request().method() === "PATCH");
      await row(page, 0).getByRole("button", { name: "Save" }).click();
      const task = await (await saved).json();
      assert.equal(task.title, "Call Bob back");
      assert.equal(task.description, "After six");
    });

    await t.test("deletes a task [SC-001]", async () => {
      await andSee(page, create(page, "A mistake"), ["A mistake", "Call Bob back", "Buy milk"]);
      await andSee(page, row(page, 0).getByRole("button", { name: "Delete" }).click(), ["Call Bob back", "Buy milk"]);
    });

    await t.test("finds the tasks again after a reload", async () => {
      await andSee(page, page.reload(), ["Call Bob back", "Buy milk"]);
      assert.equal(await row(page, 0).getByLabel("Description").inputValue(), "After six");
      await screenshot("tasks");
    });

    await t.test("asks the API before each method from another origin", () => {
      const preflights = new Set(network.answers().filter((answer) => answer.startsWith("OPTIONS")).map(withoutId));
      const paths = ["/api/tasks", "/api/tasks/N", "/api/tasks/N/complete"];
      assert.deepEqual([...preflights].sort(), paths.map((path) => `OPTIONS ${path} 200`));
    });

    await t.test("lists pending tasks in a server component", async () => {
      const before = network.answers().length;
      await andSee(page, page.goto(`${origin}/server`), ["Call Bob back"]);
      assert.deepEqual(network.answers().slice(before), ["GET /api/tasks 200"]);
      await screenshot("server");
    });

    for (const [kind, path, address] of [
      ["a route handler", "/handler", "/api/backend/tasks"],
      ["a rewrite", "/rewrite", "/api/tasks"],
    ] as const) {
      await t.test(`creates, toggles and deletes a task through ${kind}`, async () => {
        const tasks = ["Call Bob back", "Buy milk"];
        const seen = await statuses(async () => {
          await andSee(page, page.goto(origin + path), tasks);
          await page.getByLabel("New title").fill("Passed on");
          await andSee(page, page.getByRole("button", { name: "Create" }).click(), ["Passed on", ...tasks]);
          await row(page, 0).getByRole("checkbox").click();
          await seeCompleted(page, 0, true);
          await screenshot(path.slice(1));
          await andSee(page, row(page, 0).getByRole("button", { name: "Delete" }).click(), tasks);
          await page.getByLabel("New title").fill(" ");
          await page.getByRole("button", { name: "Create" }).click();
          await alertShows("title: This field may not be blank.");
        });
        assert.deepEqual(seen, [], "The browser calls its own origin only.");
        const writes = network.answers().filter((answer) => !/GET|OPTIONS/.test(answer));
        assert.deepEqual(writes.slice(-4).map(withoutId), [
          "POST /api/tasks 201",
          "PATCH /api/tasks/N/complete 200",
          "DELETE /api/tasks/N 204",
          "POST /api/tasks 422",
        ]);
        const repeat = () =>
          page.evaluate(
            async ([url, token, key]) => {
              const headers = {
                Authorization: `Bearer ${token}`,
                "Content-Type": "application/json",
                "Idempotency-Key": key!,
              };
              const body = JSON.stringify({ title: "Repeated" });
              const answer = await fetch(url!, { method: "POST", headers, body });
              return (await answer.json()).id;
            },
            [address, token, path],
          );
        const id = await repeat();
        assert.equal(await repeat(), id);
        assert.equal((await elsewhere(`/${id}`, "DELETE")).status, 204);
      });
    }

    await t.test("answers 404 or 403 if the address has an /api too few or too many", async () => {
      const headers = { Authorization: `Bearer ${token}` };
      const tooFew = await fetch(`${api}/tasks`, { headers });
      assert.deepEqual([tooFew.status, await tooFew.json()], [404, { detail: "Not found." }]);
      const tooMany = await fetch(`${api}/api/api/tasks`, { headers });
      const detail = "The user in the path is 'api', not the token's.";
      assert.deepEqual([tooMany.status, await tooMany.json()], [403, { detail }]);
    });

    await t.test("serves a client that calls `completed` otherwise", async () => {
      const tasks = (await (await elsewhere("")).json()).map(fromTask);
      assert.deepEqual(tasks.map((task: object) => Object.entries(task).at(-1)), [
        ["is_completed", false],
        ["is_completed", true],
      ]);
      const toggled = await elsewhere("/2", "PATCH", toTask({ is_completed: true }));
      assert.equal(fromTask(await toggled.json()).is_completed, true);
      await elsewhere("/2", "PATCH", toTask({ is_completed: false }));
    });

    await t.test("shows no task to another user, not even at the address of a task [SC-003]", async () => {
      const stranger = await (await browser.newContext()).newPage();
      await stranger.goto(origin);
      const list = stranger.waitForResponse(`${api}/api/tasks?status=all`);
      await enter(stranger, "Sign up", "bob@example.com");
      const response = await list;
      assert.deepEqual(await response.json(), []);
      assert.equal(await stranger.getByRole("listitem").count(), 0);
      const { authorization } = await response.request().allHeaders();
      const answer = await fetch(`${api}/api/tasks/1`, { headers: { Authorization: authorization! } });
      assert.equal(answer.status, 404);
      for (const path of ["/server", "/handler", "/rewrite"]) {
        await stranger.goto(origin + path);
        await stranger.getByText("No tasks").waitFor();
        assert.equal(await stranger.getByRole("listitem").count(), 0);
      }
      await stranger.context().close();
    });

    await t.test("renews a token that expires under way", async () => {
      // Better Auth's clock is behind, so that its tokens expire after some seconds and not after 15 minutes.
      await frontend.restart(15 * 60 - 4);
      await andSee(page, page.goto(origin), ["Call Bob back", "Buy milk"]);
      const { exp } = decodeJwt(token);
      await page.waitForTimeout(exp! * 1000 - Date.now() + 100);
      const seen = await statuses(() =>
        andSee(page, page.getByLabel("Show").selectOption("completed"), ["Buy milk"]),
      );
      assert.deepEqual(seen, [401, 200]);
      assert.ok(decodeJwt(token).exp! > exp!);
    });

    await t.test("shows an error if the renewed token has expired, too", async () => {
      await frontend.restart(16 * 60);
      const seen = await statuses(async () => {
        await page.goto(origin);
        await alertShows("Token has expired.");
      });
      assert.deepEqual(seen, [401, 401]);
      await screenshot("expired");
    });

    await t.test("asks the user to sign in again if the session has ended", async () => {
      const cookies = await page.context().cookies();
      await page.context().clearCookies();
      await page.getByLabel("Show").selectOption("pending");
      await alertShows("Sign in again.");
      await page.context().addCookies(cookies);
      await frontend.restart(0);
      await andSee(page, page.reload(), ["Call Bob back", "Buy milk"]);
    });

    await t.test("shows no tasks after signing out; the API refuses requests without a token [SC-002]", async () => {
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("button", { name: "Sign in" }).waitFor();
      assert.equal(await page.getByRole("listitem").count(), 0);
      const answer = await page.evaluate(async (url) => {
        const response = await fetch(url);
        return [response.status, await response.json()];
      }, `${api}/api/tasks`);
      assert.deepEqual(answer, [401, { detail: "Authentication credentials were not provided." }]);
      for (const path of ["/api/auth/token", "/api/backend/tasks", "/api/tasks"]) {
        assert.equal(await page.evaluate(async (url) => (await fetch(url)).status, path), 401, path);
      }
      await page.goto(`${origin}/server`);
      await page.getByRole("button", { name: "Sign in" }).waitFor();
    });

    await t.test("gets answers in less than 500 ms, by the median [SC-001]", () => {
      assert.deepEqual(Object.keys(milliseconds).sort(), ["DELETE", "GET", "PATCH", "POST"]);
      for (const durations of Object.values(milliseconds)) {
        // The median, because a busy machine may delay single answers.
        const median = durations.sort((a, b) => a - b)[Math.floor(durations.length / 2)]!;
        assert.ok(median > 0 && median < 500, String(durations));
      }
    });
  });
}
