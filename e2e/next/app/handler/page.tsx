"use client";

import { ProxiedTasks } from "@/components/proxied-tasks";

const send = (url: string, init?: RequestInit) => fetch(url, init);

export default function Page() {
  return <ProxiedTasks url="/api/backend/tasks" send={send} />;
}
