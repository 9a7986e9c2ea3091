import Database from "libsql";
import { SqliteDialect } from "kysely";

export const database = {
  dialect: new SqliteDialect({ database: new Database(process.env.DATABASE ?? ":memory:") }),
  type: "sqlite" as const,
};
