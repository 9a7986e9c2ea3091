import { redirect } from "next/navigation";
import { serverFetch } from "@/lib/server-fetch";
import type { Task } from "@/lib/tasks";

export default async function Page() {
  const response = await serverFetch("/api/tasks?status=pending");
  if (response.status === 401) redirect("/");
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
