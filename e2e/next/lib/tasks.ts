import { authorizedFetch } from "./authorized-fetch";
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Task = Schemas["Task"];
export type TaskCreate = Schemas["TaskCreate"];
export type TaskUpdate = Schemas["TaskUpdate"];
export type Status = "all" | "pending" | "completed";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    { detail, errors = {} }: Schemas["Error"] & Partial<Schemas["ValidationError"]>,
  ) {
    const lines = Object.entries(errors).map(([field, reasons]) => `${field}: ${reasons.join(" ")}`);
    super(lines.join("\n") || detail);
  }
}

/** Empty if the browser reaches the API through this application. */
const address = process.env.NEXT_PUBLIC_API_URL ?? "";

async function send(method: string, path: string, body?: object, headers?: Record<string, string>) {
  const response = await authorizedFetch(`${address}/api/tasks${path}`, {
    method,
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  if (!response.ok) {
    // An error of Next.js, or of a proxy, is not JSON.
    const error = await response.json().catch(() => ({ detail: `The answer is ${response.status}.` }));
    throw new ApiError(response.status, error);
  }
  return response.status === 204 ? null : response.json();
}

export const listTasks = (status: Status): Promise<Task[]> => send("GET", `?status=${status}`);

/** With one key it creates one task, however often it is sent. */
export const createTask = (fields: TaskCreate, key: string): Promise<Task> =>
  send("POST", "", fields, { "Idempotency-Key": key });

export const editTask = (id: number, fields: TaskUpdate): Promise<Task> => send("PATCH", `/${id}`, fields);

export const completeTask = (id: number, completed: boolean): Promise<Task> =>
  send("PATCH", `/${id}/complete`, { completed });

export const deleteTask = (id: number): Promise<null> => send("DELETE", `/${id}`);
