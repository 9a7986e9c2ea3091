import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { SignJWT } from "jose";
import type { Locator } from "playwright-core";
import { launchBrowser } from "./browser";
import { output, startBackend } from "./servers";

const secret = randomBytes(32).toString("base64");
const token = await new SignJWT({ sub: "ada" })
  .setProtectedHeader({ alg: "HS256" })
  .setExpirationTime("15m")
  .sign(new TextEncoder().encode(secret));

/** Sends the request, and returns the body that the page shows under that status. */
async function execute(operation: Locator, status: number): Promise<unknown> {
  await operation.getByRole("button", { name: "Execute" }).click();
  const answer = operation.locator(".live-responses-table tbody");
  // The exact text of the cell: to an undocumented status the page adds "Undocumented".
  await answer.locator(".response-col_status").getByText(String(status), { exact: true }).waitFor();
  return JSON.parse(await answer.locator("pre").first().innerText());
}

for (const DEBUG of ["false", "true"]) {
  test(`The Swagger page, with DEBUG=${DEBUG}`, async (t) => {
    await using backend = await startBackend({ BETTER_AUTH_SECRET: secret, DEBUG });
    await using browser = await launchBrowser();
    const page = await browser.newPage();
    page.setDefaultTimeout(10_000);
    const operation = (id: string) => page.locator(`#operations-tasks-${id}`);
    const screenshot = (name: string) => join(output, `${DEBUG === "true" ? "debug-" : ""}${name}.png`);
    const foreign: string[] = [];
    await page.route(
      ({ origin }) => origin !== backend.url,
      (route) => {
        foreign.push(route.request().url());
        return route.abort();
      },
    );
    const complaints: string[] = [];
    page.on("pageerror", ({ message }) => complaints.push(message));
    page.on("console", (message) => complaints.push(message.text()));

    await t.test("shows the whole introduction and every operation", async () => {
      await page.goto(`${backend.url}/api/docs`);
      await operation("listTasks").waitFor();
      await page.screenshot({ path: screenshot("docs"), fullPage: true });
      const { info, paths } = await (await fetch(`${backend.url}/api/schema`)).json();
      const words = (text: string) => text.match(/\w+/g);
      const introduction = info.description.replaceAll(/\(https:.*?\)|^```ts$/gm, "");
      assert.deepEqual(words(await page.locator(".info .description").innerText()), words(introduction));
      const operations = Object.entries<object>(paths).flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { summary }]) => words(`${method.toUpperCase()} ${path} ${summary}`)),
      );
      assert.deepEqual((await page.locator(".opblock-summary").allInnerTexts()).map(words), operations);
    });

    await t.test("shows that a request without a token is refused", async () => {
      const list = operation("listTasks");
      await list.getByRole("button", { name: "List tasks" }).click();
      await list.getByRole("button", { name: "Try it out" }).click();
      assert.deepEqual(await execute(list, 401), { detail: "Authentication credentials were not provided." });
    });

    await t.test("accepts a token", async () => {
      await page.getByRole("button", { name: "Authorize" }).click();
      await page.getByRole("textbox", { name: "auth-bearer-value" }).fill(token);
      await page.screenshot({ path: screenshot("docs-authorize") });
      await page.getByRole("button", { name: "Apply credentials" }).click();
      await page.getByRole("button", { name: "Close" }).click();
    });

    let created: unknown;
    await t.test("creates the task of the example", async () => {
      const create = operation("createTask");
      await create.getByRole("button", { name: "Create a task" }).click();
      await create.getByRole("button", { name: "Try it out" }).click();
      created = await execute(create, 201);
      await create.screenshot({ path: screenshot("docs-created") });
      const tasks = await fetch(`${backend.url}/api/tasks`, { headers: { Authorization: `Bearer ${token}` } });
      assert.deepEqual(await tasks.json(), [created]);
      assert.doesNotMatch(await create.locator(".curl-command").innerText(), /csrf/i);
    });

    await t.test("shows the error of a blank title [SC-006]", async () => {
      await operation("createTask").locator("textarea").fill('{"title": " "}');
      const reason = "This field may not be blank.";
      assert.deepEqual(await execute(operation("createTask"), 422), {
        detail: `title: ${reason}`,
        errors: { title: [reason] },
      });
      await operation("createTask").screenshot({ path: screenshot("docs-422") });
    });

    await t.test("lists the task", async () => {
      assert.deepEqual(await execute(operation("listTasks"), 200), [created]);
    });

    await t.test("fits the screen of a telephone", async () => {
      await page.setViewportSize({ width: 390, height: 844 });
      await page.goto(`${backend.url}/api/docs`);
      await operation("listTasks").waitFor();
      await page.screenshot({ path: screenshot("docs-narrow"), fullPage: true });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
    });

    await t.test("sends nothing to other origins", () => assert.deepEqual(foreign, []));

    await t.test("logs nothing on the console but two errors", () => {
      // The browser logs these two error answers. The text after the status depends on Python's version.
      assert.deepEqual(
        complaints.map((text) => text.replace(/ \(.*/, "")),
        [
          "Failed to load resource: the server responded with a status of 401",
          "Failed to load resource: the server responded with a status of 422",
        ],
      );
    });
  });
}
