import { createAuthClient } from "better-auth/client";
import { api, describe, forgetToken, type Problem, type Status, type Task } from "./tasks";

const auth = createAuthClient();

const element = <T extends Element>(selector: string, parent: ParentNode = document) =>
  parent.querySelector<T>(selector)!;
const alert = element<HTMLElement>("[role=alert]");
const signIn = element<HTMLFormElement>("#sign-in");
const main = element<HTMLElement>("main");
const create = element<HTMLFormElement>("#create");
const status = element<HTMLSelectElement>("#status");
const list = element<HTMLUListElement>("ul");
const template = element<HTMLTemplateElement>("template");

type Answer = { error?: Problem } | void;

/** Runs an action, then shows the tasks, or the error. */
async function act(action: () => Promise<Answer>): Promise<void> {
  alert.textContent = "";
  try {
    const problem = (await action())?.error ?? (await show())?.error;
    if (problem) alert.textContent = describe(problem);
  } catch (error) {
    alert.textContent = (error as Error).message;
  }
}

async function show(): Promise<Answer> {
  const { data: session } = await auth.getSession();
  signIn.hidden = Boolean(session);
  main.hidden = !session;
  list.replaceChildren();
  if (!session) return;
  element("#user").textContent = session.user.email;
  const { data = [], error } = await api.GET("/api/tasks", { params: { query: { status: status.value as Status } } });
  list.replaceChildren(...data.map(row));
  return { error };
}

function row(task: Task): Node {
  const item = template.content.cloneNode(true) as DocumentFragment;
  const form = element<HTMLFormElement>("form", item);
  const completed = element<HTMLInputElement>("[name=completed]", item);
  const path = { params: { path: { id: task.id } } };
  element<HTMLInputElement>("[name=title]", item).value = task.title;
  element<HTMLInputElement>("[name=description]", item).value = task.description ?? "";
  completed.checked = task.completed;
  completed.onchange = () => act(() => api.PATCH("/api/tasks/{id}/complete", path));
  onSubmit(form, (fields) => api.PATCH("/api/tasks/{id}", { ...path, body: titleAndDescription(fields) }));
  element<HTMLButtonElement>("[name=delete]", item).onclick = () => act(() => api.DELETE("/api/tasks/{id}", path));
  return item;
}

function titleAndDescription(fields: FormData) {
  return { title: String(fields.get("title")), description: String(fields.get("description")) || null };
}

function onSubmit(form: HTMLFormElement, action: (fields: FormData, button: string) => Promise<Answer>): void {
  form.onsubmit = (event) => {
    event.preventDefault();
    void act(() => action(new FormData(form), (event.submitter as HTMLButtonElement).value));
  };
}

onSubmit(signIn, async (fields, button) => {
  const email = String(fields.get("email"));
  const password = String(fields.get("password"));
  const { error } = await (button === "sign-up"
    ? auth.signUp.email({ name: email, email, password })
    : auth.signIn.email({ email, password }));
  if (error) throw new Error(error.message);
  signIn.reset();
});

onSubmit(create, async (fields) => {
  const { error } = await api.POST("/api/tasks", { body: titleAndDescription(fields) });
  if (!error) create.reset();
  return { error };
});

status.onchange = () => act(async () => {});

element<HTMLButtonElement>("#sign-out").onclick = () =>
  act(async () => {
    await auth.signOut();
    forgetToken();
  });

void act(async () => {});
