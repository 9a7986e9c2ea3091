import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./database"; // yours

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  plugins: [jwt()],
});
