import { memoryAdapter } from "better-auth/adapters/memory";

export const memory = () => memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] });

export const database = memory();
