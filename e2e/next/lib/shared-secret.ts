import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { SignJWT } from "jose";
import { database } from "./database"; // yours

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  plugins: [
    jwt({
      // Both are mandatory with `sign`, and not used by it.
      jwks: { remoteUrl: "http://localhost:3000/unused", keyPairConfig: { alg: "EdDSA" } },
      jwt: {
        sign: (payload) =>
          new SignJWT(payload)
            .setProtectedHeader({ alg: "HS256", typ: "JWT" })
            .sign(new TextEncoder().encode(process.env.BETTER_AUTH_SECRET)),
      },
    }),
  ],
});
