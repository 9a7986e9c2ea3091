"use client";

import { SignIn } from "@/components/sign-in";
import { Tasks } from "@/components/tasks";
import { authClient } from "@/lib/auth-client";

export default function Page() {
  const { data: session, isPending } = authClient.useSession();
  if (isPending) return null;
  return session ? <Tasks email={session.user.email} /> : <SignIn />;
}
