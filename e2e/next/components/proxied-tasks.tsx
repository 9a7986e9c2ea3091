"use client";

import { type FormEvent, useCallback, useEffect, useState } from "react";
import type { authorizedFetch } from "@/lib/authorized-fetch";
import type { Task } from "@/lib/tasks";

/** Tasks at an address of this application, which passes the requests on to the API. */
export function ProxiedTasks({ url, send }: { url: string; send: typeof authorizedFetch }) {
  const [tasks, setTasks] = useState<Task[]>();
  const [problem, setProblem] = useState("");

  const load = useCallback(async () => {
    const response = await send(url);
    if (response.ok) setTasks(await response.json());
  }, [url, send]);

  useEffect(() => {
    load().catch(({ message }) => setProblem(message));
  }, [load]);

  async function request(method: string, path: string, body?: string) {
    const response = await send(url + path, { method, headers: { "Content-Type": "application/json" }, body });
    setProblem(response.ok ? "" : (await response.json()).detail);
    await load();
  }

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const title = new FormData(event.currentTarget).get("title");
    void request("POST", "", JSON.stringify({ title }));
  }

  return (
    <>
      <form className="card" onSubmit={submit}>
        <input name="title" aria-label="New title" placeholder="Title" />
        <button>Create</button>
      </form>
      <p role="alert">{problem}</p>
      {tasks?.length === 0 && <p>No tasks</p>}
      <ul>
        {tasks?.map(({ id, title, completed }) => (
          <li className="card" key={id}>
            <label>
              <input type="checkbox" checked={completed} onChange={() => request("PATCH", `/${id}/complete`)} /> {title}
            </label>
            <button onClick={() => request("DELETE", `/${id}`)}>Delete</button>
          </li>
        ))}
      </ul>
    </>
  );
}
