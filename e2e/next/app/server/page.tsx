import { redirect } from "next/navigation";
import { Suspense } from "react";
import { serverFetch } from "@/lib/server-fetch";
import type { Task } from "@/lib/tasks";

async function Tasks() {
  const response = await serverFetch("/api/tasks?status=pending");
  if (!response) redirect("/");
  if (!response.ok) throw new Error((await response.json()).detail);
  const tasks: Task[] = await response.json();
  if (tasks.length === 0) return <p>No tasks</p>;
  return (
    <ul>
      {tasks.map((task) => (
        <li key={task.id}>{task.title}</li>
      ))}
    </ul>
  );
}

// With `cacheComponents`, Next.js sends the page before it knows the user.
export default function Page() {
  return (
    <Suspense fallback={<p>Loading…</p>}>
      <Tasks />
    </Suspense>
  );
}
