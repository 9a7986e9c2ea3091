"use client";

import { ProxiedTasks } from "@/components/proxied-tasks";
import { authorizedFetch } from "@/lib/authorized-fetch";

export default function Page() {
  return <ProxiedTasks url="/api/tasks" send={authorizedFetch} />;
}
