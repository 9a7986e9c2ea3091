import { auth as publishedKeys } from "./published-keys";
import { auth as sharedSecret } from "./shared-secret";

// Chosen at run time, so that one build serves both configurations.
export const auth = process.env.SIGNING === "shared-secret" ? sharedSecret : publishedKeys;
