import type { Metadata } from "next";
import Link from "next/link";
import type { ReactNode } from "react";
import { Providers } from "@/components/providers";
import "./style.css";

export const metadata: Metadata = { title: "Tasks" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <header>
          <h1>Tasks</h1>
          <nav>
            <Link href="/">Client component</Link>
            <Link href="/server">Server component</Link>
            <Link href="/handler">Route handler</Link>
            <Link href="/rewrite">Rewrite</Link>
          </nav>
        </header>
        <Providers>
          <main>{children}</main>
        </Providers>
      </body>
    </html>
  );
}
