import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as send } from "node:http";

const fields = ["title", "description", "completed"];
/** The texts of a JSON body that the log must not contain. Shorter ones, such as "x", are in any line. */
const texts = (body: string) => (body.match(/[^"\\]{4,}/g) ?? []).filter((text) => !fields.includes(text));

/**
 * A proxy that records the requests to a backend, and can fail like a network. check() asserts that the log has each
 * request once, with the id of its answer, and no token, no query and no text of a user.
 */
export async function recorder(port: number, backendPort: number, secret?: string) {
  const answered: string[] = [];
  const secrets = new Set(secret ? [secret] : []);
  let held: Promise<void> | undefined;
  let losses = { method: "", count: 0 };
  const server = createServer((request, response) => {
    const { method, headers } = request;
    const [path, query] = request.url!.split("?");
    if (query) secrets.add(query);
    for (const segment of headers.authorization?.split(/[ .]+/).slice(1) ?? []) secrets.add(segment);
    const forwarded = send({ port: backendPort, path: request.url, method, headers }, async (answer) => {
      answered.push([answer.headers["x-request-id"], method, path, answer.statusCode].join(" "));
      await held;
      if (method === losses.method && losses.count-- > 0) return response.destroy();
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    forwarded.on("error", (error) => response.destroy(error));
    request.on("data", (part) => texts(String(part)).forEach((text) => secrets.add(text)));
    request.pipe(forwarded);
  });
  const connect = async () => void (await once(server.listen(port), "listening"));
  await connect();
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  const network = {
    connect,
    /** Refuses connections until connect() is called. */
    disconnect: stop,
    /** Keeps answers back until the returned function is called. */
    hold() {
      let release = () => {};
      held = new Promise((resolve) => (release = resolve));
      return release;
    },
    /** Breaks the connection in place of so many answers to this method. */
    lose(method: string, count: number) {
      losses = { method, count };
    },
    /** The methods, paths and statuses of the requests that were answered. */
    answers: () => answered.map((line) => line.replace(/^\S+ /, "")),
  };
  return {
    network,
    stop,
    check(log: string) {
      const lines = log.split("\n").filter((line) => line.includes("todo_backend.log"));
      const logged = lines.map(readLine).filter((line) => !line.includes("/readyz"));
      assert.deepEqual(logged.sort(), answered.sort());
      for (const text of secrets) assert.ok(!log.includes(text), `The log has ${JSON.stringify(text)}.`);
    },
  };
}

/** The id, method, path and status in the line of a request, in either format. */
function readLine(line: string): string {
  if (!line.startsWith("{")) return line.replace(/^.*?todo_backend\.log (\S+): (.+) in [\d.]+ ms, user .+$/, "$1 $2");
  const { request_id, method, path, status } = JSON.parse(line);
  return [request_id, method, path, status].join(" ");
}
