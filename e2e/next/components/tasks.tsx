"use client";

import { type FormEvent, useState } from "react";
import { authClient } from "@/lib/auth-client";
import type { Status, Task } from "@/lib/tasks";
import { useCreateTask, useDeleteTask, useEditTask, useTasks, useToggleTask } from "@/lib/use-tasks";

function readFields(form: HTMLFormElement) {
  const fields = new FormData(form);
  return { title: String(fields.get("title")), description: String(fields.get("description")) || null };
}

async function signOut() {
  await authClient.signOut();
  location.assign("/");
}

export function Tasks({ email }: { email: string }) {
  const [status, setStatus] = useState<Status>("all");
  const list = useTasks(status);
  const create = useCreateTask();
  const edit = useEditTask();
  const toggle = useToggleTask(status);
  const remove = useDeleteTask();
  const problem = [create, edit, toggle, remove, list].find(({ error }) => error)?.error;

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    create.mutate({ ...readFields(form), key: crypto.randomUUID() }, { onSuccess: () => form.reset() });
  }

  return (
    <>
      <p className="user">
        <span>{email}</span> <button onClick={signOut}>Sign out</button>
      </p>
      <form className="card" onSubmit={submit}>
        <input name="title" aria-label="New title" placeholder="Title" />
        <input name="description" aria-label="New description" placeholder="Description" />
        <button>Create</button>
      </form>
      <label className="filter">
        Show{" "}
        <select value={status} onChange={({ target }) => setStatus(target.value as Status)}>
          <option>all</option>
          <option>pending</option>
          <option>completed</option>
        </select>
      </label>
      <p role="alert">{problem?.message}</p>
      <ul>
        {list.data?.map((task) => (
          <Row
            key={`${task.id} ${task.updated_at}`}
            task={task}
            onSave={(fields) => edit.mutate({ ...fields, id: task.id })}
            onToggle={() => toggle.mutate(task)}
            onDelete={() => remove.mutate(task)}
          />
        ))}
      </ul>
    </>
  );
}

interface RowProps {
  task: Task;
  onSave: (fields: ReturnType<typeof readFields>) => void;
  onToggle: () => void;
  onDelete: () => void;
}

function Row({ task, onSave, onToggle, onDelete }: RowProps) {
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    onSave(readFields(event.currentTarget));
  }

  return (
    <li>
      <form className="card" onSubmit={submit}>
        <input type="checkbox" aria-label="Completed" checked={task.completed} onChange={onToggle} />
        <input name="title" aria-label="Title" defaultValue={task.title} />
        <input name="description" aria-label="Description" defaultValue={task.description ?? ""} />
        <button>Save</button>
        <button type="button" onClick={onDelete}>
          Delete
        </button>
      </form>
    </li>
  );
}
