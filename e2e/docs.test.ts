import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const read = (...path: string[]) => readFileSync(join(import.meta.dirname, ...path), "utf8");

/** A block of code names its file in the first line, or else is part of a test of tokens. */
function sources(file: string | undefined): string[] {
  if (!file) return [read("tokens.test.ts")];
  if (file === "lib/auth.ts") return ["published-keys.ts", "shared-secret.ts"].map((name) => read("next/lib", name));
  return [read("next", file)];
}

for (const document of ["docs/frontend.md", "README.md"]) {
  test(`A test runs the code in ${document}`, () => {
    const blocks = [...read("..", document).matchAll(/^```tsx?\n(?:\/\/ (\S+)\n)?(.+?)\n```$/gms)];
    // README's introduction abbreviates.
    const checked = document === "README.md" ? blocks.filter(([, file]) => file) : blocks;
    assert.ok(checked.length > 0);
    for (const [, file, code] of checked) {
      const found = sources(file).some((source) => source.includes(code!));
      assert.ok(found, `${file ?? "tokens.test.ts"} does not have:\n${code}`);
    }
  });
}
