import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { SignJWT } from "jose";
import type { Locator, Page } from "playwright-core";
import { launchBrowser } from "./browser";
import { output, startBackend } from "./servers";

const secret = randomBytes(32).toString("base64");
const tokenOf = (user: string) =>
  new SignJWT({ sub: user })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("15m")
    .sign(new TextEncoder().encode(secret));

const operation = (page: Page, id: string) => page.locator(`#operations-tasks-${id}`);
const words = (text: string) => text.match(/\w+/g);

/** Opens the operation, and waits until the page has moved it to its full height. */
async function open(operation: Locator) {
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".responses-table").waitFor();
  await operation.locator(".opblock-body").evaluate((body) => Promise.all(body.getAnimations().map((a) => a.finished)));
}

/** Sends the request, and returns the body that the page shows under that status. */
async function execute(operation: Locator, status: number): Promise<unknown> {
  await operation.getByRole("button", { name: "Execute" }).click();
  const answer = operation.locator(".live-responses-table tbody");
  // The exact text of the cell: to an undocumented status the page adds "Undocumented".
  await answer.locator(".response-col_status").getByText(String(status), { exact: true }).waitFor();
  return JSON.parse(await answer.locator("pre").first().innerText());
}

async function authorize(page: Page, token: string, screenshot?: string) {
  await page.getByRole("button", { name: "Authorize" }).click();
  await page.getByRole("textbox", { name: "auth-bearer-value" }).fill(token);
  if (screenshot) await page.screenshot({ path: screenshot });
  await page.getByRole("button", { name: "Apply credentials" }).click();
  await page.getByRole("button", { name: "Close" }).click();
}

async function assertShowsAddress(operation: Locator, origin: string) {
  assert.match(await operation.locator(".curl-command").innerText(), new RegExp(`'${origin}/api/tasks' `));
  assert.equal(await operation.locator(".request-url pre").innerText(), `${origin}/api/tasks`);
}

/** The fields in a visible schema that also shows their types. */
async function fields(schema: Locator): Promise<string[]> {
  const rows = schema.locator("tr.property-row:visible").filter({ has: schema.page().locator(".prop-type:visible") });
  return (await rows.locator("td:first-child").allInnerTexts()).map((name) => name.replace("*", ""));
}

/** Neither the page nor what one can press or fill in there is wider than the screen, less the page's margin. */
async function assertFits(page: Page) {
  const { width } = page.viewportSize()!;
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
  const controls = page.locator(".opblock :is(button, input, select, textarea):visible");
  const edges = await controls.evaluateAll((found) => found.map((control) => control.getBoundingClientRect().right));
  assert.ok(Math.max(...edges) <= width - 20, `${edges}`);
}

// With the body of each error, a create would have more than 4200 pixels.
const pages = [
  { DEBUG: "false", width: 1280, highest: 1800 },
  { DEBUG: "true", width: 390, highest: 2200 },
];

for (const { DEBUG, width, highest } of pages) {
  test(`The Swagger page, ${width} pixels wide, with DEBUG=${DEBUG}`, async (t) => {
    await using backend = await startBackend({ BETTER_AUTH_SECRET: secret, DEBUG });
    await using browser = await launchBrowser();
    const page = await browser.newPage({ viewport: { width, height: 844 } });
    page.setDefaultTimeout(10_000);
    const token = await tokenOf("ada");
    const document = await (await fetch(`${backend.url}/api/schema`)).json();
    const screenshot = (name: string) => join(output, `${name}-${width}.png`);
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

    await t.test("shows the whole introduction, with its own address, and every operation", async () => {
      await page.goto(`${backend.url}/api/docs`);
      await operation(page, "listTasks").waitFor();
      await page.screenshot({ path: screenshot("docs"), fullPage: true });
      const { info, paths } = document;
      const introduction = info.description
        .replaceAll(/\(https:.*?\)|^```(ts|json)$/gm, "")
        .replaceAll("http://localhost:8000", backend.url);
      assert.deepEqual(words(await page.locator(".info .description").innerText()), words(introduction));
      const operations = Object.entries<object>(paths).flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { summary }]) => words(`${method.toUpperCase()} ${path} ${summary}`)),
      );
      assert.deepEqual((await page.locator(".opblock-summary").allInnerTexts()).map(words), operations);
    });

    await t.test("shows neither a menu of servers nor a list of schemas", async () => {
      assert.doesNotMatch(await page.locator("body").innerText(), /servers|schemas/i);
      assert.equal(await page.locator("select:visible, .models:visible").count(), 0);
      await assertFits(page);
    });

    await t.test("shows the fields of a task at once, and each error in a line", async () => {
      const { Task } = document.components.schemas;
      for (const [id, path, method] of [
        ["listTasks", "/api/tasks", "get"],
        ["createTask", "/api/tasks", "post"],
      ] as const) {
        await open(operation(page, id));
        const responses = operation(page, id).locator("tr.response:visible");
        const statuses = await responses.evaluateAll((rows) => rows.map((row) => row.getAttribute("data-code")));
        assert.deepEqual(statuses, Object.keys(document.paths[path][method].responses));
        const [answer, ...errors] = await responses.all();
        assert.deepEqual(await fields(answer!), Object.keys(Task.properties));
        for (const error of errors) assert.equal(await error.locator(":is(button, table):visible").count(), 0);
        await operation(page, id).screenshot({ path: screenshot(`docs-${id}`) });
        await assertFits(page);
      }
      const request = operation(page, "createTask").locator(".opblock-section-request-body");
      assert.deepEqual(await fields(request), ["title", "description", "completed"]);
      const { height } = (await operation(page, "createTask").boundingBox())!;
      t.diagnostic(`A create has ${height} pixels.`);
      assert.ok(height <= highest, `${height}`);
    });

    await t.test("shows that a request without a token is refused", async () => {
      const list = operation(page, "listTasks");
      await list.getByRole("button", { name: "Try it out" }).click();
      assert.deepEqual(await execute(list, 401), { detail: "Authentication credentials were not provided." });
    });

    await t.test("says where a token comes from, and accepts one", async () => {
      await authorize(page, token, screenshot("docs-authorize"));
      await page.getByRole("button", { name: "Authorize" }).click();
      const dialog = await page.locator(".dialog-ux").innerText();
      for (const text of ["/api/auth/token", "python manage.py dev_token SUB", "without Bearer", "Logout"]) {
        assert.ok(dialog.includes(text), dialog);
      }
      await assertFits(page);
      await page.getByRole("button", { name: "Close" }).click();
    });

    let created: unknown;
    await t.test("creates the task of the example, with the token from before it was loaded anew", async () => {
      // Without the fragment, which would open an operation.
      await page.goto(`${backend.url}/api/docs`);
      const create = operation(page, "createTask");
      await open(create);
      await create.getByRole("button", { name: "Try it out" }).click();
      created = await execute(create, 201);
      await create.screenshot({ path: screenshot("docs-created") });
      const tasks = await fetch(`${backend.url}/api/tasks`, { headers: { Authorization: `Bearer ${token}` } });
      assert.deepEqual(await tasks.json(), [created]);
      await assertShowsAddress(create, backend.url);
      assert.doesNotMatch(await create.locator(".curl-command").innerText(), /csrf/i);
      await assertFits(page);
    });

    await t.test("shows the error of a blank title [SC-006]", async () => {
      const create = operation(page, "createTask");
      await create.locator("textarea").fill('{"title": " "}');
      const reason = "This field may not be blank.";
      assert.deepEqual(await execute(create, 422), { detail: `title: ${reason}`, errors: { title: [reason] } });
      await create.screenshot({ path: screenshot("docs-422") });
      await assertFits(page);
    });

    await t.test("lists the task", async () => {
      const list = operation(page, "listTasks");
      await open(list);
      await list.getByRole("button", { name: "Try it out" }).click();
      assert.deepEqual(await execute(list, 200), [created]);
    });

    await t.test("forgets the token at a logout", async () => {
      const stored = () => page.evaluate(() => JSON.stringify({ ...localStorage }));
      assert.ok((await stored()).includes(token));
      await page.getByRole("button", { name: "Authorize" }).click();
      await page.getByRole("button", { name: "Remove authorization" }).click();
      assert.ok(!(await stored()).includes(token));
      await page.getByRole("button", { name: "Close" }).click();
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

test("The Swagger page behind a proxy with TLS shows the proxy's address", async () => {
  await using backend = await startBackend({ BETTER_AUTH_SECRET: secret });
  await using browser = await launchBrowser();
  const page = await browser.newPage({ viewport: { width: 1280, height: 3000 } });
  page.setDefaultTimeout(10_000);
  const proxy = "https://todo.example.com";
  await page.route(`${proxy}/**`, async (route) => {
    const url = route.request().url().replace(proxy, backend.url);
    return route.fulfill({ response: await route.fetch({ url }) });
  });
  await page.goto(`${proxy}/api/docs`);
  assert.ok((await page.locator(".info pre code").first().innerText()).includes(`fetch("${proxy}/api/tasks"`));
  await authorize(page, await tokenOf("ada"));
  const create = operation(page, "createTask");
  await open(create);
  await create.getByRole("button", { name: "Try it out" }).click();
  await execute(create, 201);
  await assertShowsAddress(create, proxy);
  // README shows this screenshot: the operation down to the body of the answer.
  const { x, y, width } = (await create.boundingBox())!;
  const body = (await create.locator(".live-responses-table pre").first().boundingBox())!;
  await page.screenshot({
    path: join(output, "swagger.png"),
    clip: { x, y, width, height: body.y + body.height + 8 - y },
  });
});
