import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { SignJWT } from "jose";
import createClient from "openapi-fetch";
import * as heyApi from "./generated/hey-api";
import { client as heyApiClient } from "./generated/hey-api/client.gen";
import * as heyApiZod from "./generated/hey-api/zod.gen";
import * as orval from "./generated/orval/fetch";
import type * as orvalModel from "./generated/orval/model";
import type * as orvalSchemas from "./generated/orval/schemas";
import * as orvalValidating from "./generated/orval/validating";
import * as orvalZod from "./generated/orval/zod";
import type { components, paths } from "./next/lib/schema";
import { startBackend } from "./servers";

type Task = {
  id: number;
  user_id: string;
  title: string;
  description: string | null;
  completed: boolean;
  created_at: string;
  updated_at: string;
};
type Update = { title?: string; description?: string | null; completed?: boolean };
type Create = Update & { title: string };
type Problem = { detail: string };
type Invalid = { detail: string; errors: { [field: string]: string[] } };
type Query = { status?: "all" | "pending" | "completed" };

/** Compiles only if every type of the tuple is the expected one. */
type Are<Types extends unknown[], Expected> = Types extends [infer Type, ...infer Others]
  ? [Type, Expected] extends [Expected, Type]
    ? Are<Others, Expected>
    : false
  : true;

type Schemas = components["schemas"];
type Parameters = paths["/api/tasks"]["get"]["parameters"];
true satisfies Are<[Schemas["Task"], heyApi.Task, orvalModel.Task, orvalSchemas.Task], Task>;
true satisfies Are<[Schemas["TaskCreate"], heyApi.TaskCreate, orvalModel.TaskCreate, orvalSchemas.TaskCreate], Create>;
true satisfies Are<[Schemas["TaskUpdate"], heyApi.TaskUpdate, orvalModel.TaskUpdate, orvalSchemas.TaskUpdate], Update>;
true satisfies Are<
  [Schemas["Completion"], heyApi.Completion, orvalModel.Completion, orvalSchemas.Completion],
  { completed?: boolean }
>;
true satisfies Are<[Schemas["Error"], heyApi.Error, orvalModel.Error, orvalSchemas.Error], Problem>;
true satisfies Are<
  [Schemas["ValidationError"], heyApi.ValidationError, orvalModel.ValidationError, orvalSchemas.ValidationError],
  Invalid
>;
true satisfies Are<
  [Parameters["query"], heyApi.ListTasksData["query"], orvalModel.ListTasksParams | undefined],
  Query | undefined
>;

const secret = randomBytes(32).toString("base64");
const token = await new SignJWT({ sub: "ada" })
  .setProtectedHeader({ alg: "HS256" })
  .setExpirationTime("15m")
  .sign(new TextEncoder().encode(secret));
const headers = { Authorization: `Bearer ${token}` };

const blank = { detail: "title: This field may not be blank.", errors: { title: ["This field may not be blank."] } };

test("A generated client", async (t) => {
  await using backend = await startBackend({ BETTER_AUTH_SECRET: secret });

  await t.test("of openapi-typescript calls every operation", async () => {
    const api = createClient<paths>({ baseUrl: backend.url, headers });
    const { data: created } = await api.POST("/api/tasks", {
      body: { title: "Buy milk" },
      params: { header: { "Idempotency-Key": randomUUID() } },
    });
    assert.ok(created);
    const params = { path: { id: created.id } };
    const { data: read } = await api.GET("/api/tasks/{id}", { params });
    assert.deepEqual(read, created);
    const { data: completed } = await api.PATCH("/api/tasks/{id}/complete", { params });
    assert.equal(completed?.completed, true);
    const { data: described } = await api.PUT("/api/tasks/{id}", { params, body: { description: "Two bottles" } });
    assert.equal(described?.description, "Two bottles");
    const { data: renamed } = await api.PATCH("/api/tasks/{id}", { params, body: { title: "Buy oat milk" } });
    assert.equal(renamed?.title, "Buy oat milk");
    const { data: tasks } = await api.GET("/api/tasks", { params: { query: { status: "completed" } } });
    assert.deepEqual(tasks, [renamed]);
    const { error } = await api.POST("/api/tasks", { body: { title: " " } });
    assert.deepEqual(error, blank);
    const { response } = await api.DELETE("/api/tasks/{id}", { params });
    assert.equal(response.status, 204);
  });

  await t.test("of @hey-api/openapi-ts calls every operation, and its schemas parse the answers", async () => {
    heyApiClient.setConfig({ baseUrl: backend.url, auth: token });
    const { data: created } = await heyApi.createTask({
      body: { title: "Buy milk" },
      headers: { "Idempotency-Key": randomUUID() },
      throwOnError: true,
    });
    assert.deepEqual(heyApiZod.zTask.parse(created), created);
    const path = { id: created.id };
    const { data: read } = await heyApi.getTask({ path });
    assert.deepEqual(read, created);
    const { data: completed } = await heyApi.toggleTask({ path });
    assert.equal(completed?.completed, true);
    const { data: described } = await heyApi.updateTask({ path, body: { description: "Two bottles" } });
    assert.equal(described?.description, "Two bottles");
    const { data: renamed } = await heyApi.patchTask({ path, body: { title: "Buy oat milk" } });
    assert.equal(renamed?.title, "Buy oat milk");
    const { data: tasks } = await heyApi.listTasks({ query: { status: "completed" } });
    assert.deepEqual(heyApiZod.zListTasksResponse.parse(tasks), [renamed]);
    const { error } = await heyApi.createTask({ body: { title: " " } });
    assert.deepEqual(heyApiZod.zValidationError.parse(error), blank);
    const { response } = await heyApi.deleteTask({ path });
    assert.equal(response?.status, 204);
  });

  await t.test("of orval calls every operation, and its schemas parse the answers", async () => {
    process.env.NEXT_PUBLIC_API_URL = backend.url;
    const created = await orval.createTask(
      { title: "Buy milk" },
      { headers: { ...headers, "Idempotency-Key": randomUUID() } },
    );
    assert.ok(created.status === 201);
    assert.deepEqual(orvalZod.CreateTask201Response.parse(created.data), created.data);
    const { id } = created.data;
    const read = await orval.getTask(id, { headers });
    assert.deepEqual(read.data, created.data);
    const completed = await orval.toggleTask(id, undefined, { headers });
    assert.ok(completed.status === 200 && completed.data.completed);
    const described = await orval.updateTask(id, { description: "Two bottles" }, { headers });
    assert.ok(described.status === 200 && described.data.description === "Two bottles");
    const renamed = await orval.patchTask(id, { title: "Buy oat milk" }, { headers });
    assert.ok(renamed.status === 200 && renamed.data.title === "Buy oat milk");
    const tasks = await orval.listTasks({ status: "completed" }, { headers });
    assert.deepEqual(orvalZod.ListTasks200Response.parse(tasks.data), [renamed.data]);
    const refused = await orval.createTask({ title: " " }, { headers });
    assert.ok(refused.status === 422);
    assert.deepEqual(orvalZod.CreateTask422Response.parse(refused.data), blank);
    assert.equal((await orval.deleteTask(id, { headers })).status, 204);
  });

  await t.test("of orval validates the answers itself", async () => {
    const { data } = await orvalValidating.createTask({ title: "Buy milk" }, { headers });
    assert.deepEqual((await orvalValidating.listTasks({}, { headers })).data, [data]);
    await assert.rejects(orvalValidating.createTask({ title: " " }, { headers }), { status: 422, info: blank });
    await orvalValidating.deleteTask(data.id, { headers });
  });

  await t.test("accepts the titles that the server accepts, and no others", async () => {
    const blanks = ["", " ", "\n\t\v\f\r", "\x1c\x1d\x1e\x1f", "\x85\xa0", "\u2028\u2029", "\u3000", "\ufeff"];
    const long = ["x".repeat(200), "x".repeat(201), "😀".repeat(200), "😀".repeat(201)];
    const titles = [...blanks, ...long, "\0", "a\0", " x\u2028", "\x1b", "\u200b", "é"];
    const schemas = [orvalZod.CreateTaskBody, orvalZod.PatchTaskBody, heyApiZod.zTaskCreate, heyApiZod.zTaskUpdate];
    for (const title of titles) {
      const accepted = (await orval.createTask({ title }, { headers })).status === 201;
      const parsed = schemas.map((schema) => schema.safeParse({ title }).success);
      assert.deepEqual([title, ...parsed], [title, accepted, accepted, accepted, accepted]);
    }
  });
});
