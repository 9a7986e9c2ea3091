"use client";

import { type FormEvent, useState } from "react";
import { authClient } from "@/lib/auth-client";

export function SignIn() {
  const [problem, setProblem] = useState("");

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const email = String(fields.get("email"));
    const password = String(fields.get("password"));
    const { submitter } = event.nativeEvent as SubmitEvent;
    const { error } =
      submitter?.id === "sign-up"
        ? await authClient.signUp.email({ name: email, email, password })
        : await authClient.signIn.email({ email, password });
    setProblem(error?.message ?? "");
  }

  return (
    <>
      <form className="card" onSubmit={submit}>
        <input name="email" type="email" aria-label="E-mail" placeholder="E-mail" required />
        <input name="password" type="password" aria-label="Password" placeholder="Password" required />
        <button>Sign in</button>
        <button id="sign-up">Sign up</button>
      </form>
      <p role="alert">{problem}</p>
    </>
  );
}
