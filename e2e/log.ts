import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as send } from "node:http";

const fields = ["title", "description", "completed"];
/** What of a JSON body must not be logged: of shorter texts, such as "x", any line has some. */
const texts = (body: string) => (body.match(/[^"\\]{4,}/g) ?? []).filter((text) => !fields.includes(text));

/**
 * Stands before a backend, whose log has to have each request exactly once, with its answer's id, and neither a token
 * nor a query nor what a user wrote.
 */
export async function recorder(port: number, backendPort: number, secret?: string) {
  const answered: string[] = [];
  const secrets = new Set(secret ? [secret] : []);
  const server = createServer((request, response) => {
    const { method, headers } = request;
    const [path, query] = request.url!.split("?");
    if (query) secrets.add(query);
    for (const segment of headers.authorization?.split(/[ .]+/).slice(1) ?? []) secrets.add(segment);
    const forwarded = send({ port: backendPort, path: request.url, method, headers }, (answer) => {
      answered.push([answer.headers["x-request-id"], method, path, answer.statusCode].join(" "));
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    forwarded.on("error", (error) => response.destroy(error));
    request.on("data", (part) => texts(String(part)).forEach((text) => secrets.add(text)));
    request.pipe(forwarded);
  });
  server.listen(port);
  await once(server, "listening");
  return {
    stop() {
      server.close();
      server.closeAllConnections();
    },
    check(log: string) {
      const lines = log.split("\n").filter((line) => line.includes("todo_backend.log"));
      const logged = lines.map(readLine).filter((line) => !line.includes("/readyz"));
      assert.deepEqual(logged.sort(), answered.sort());
      for (const text of secrets) assert.ok(!log.includes(text), `The log has ${JSON.stringify(text)}.`);
    },
  };
}

/** Id, method, path and status of a line about a request, in either format. */
function readLine(line: string): string {
  if (!line.startsWith("{")) return line.replace(/^.*?todo_backend\.log (\S+): (.+) in [\d.]+ ms, user .+$/, "$1 $2");
  const { request_id, method, path, status } = JSON.parse(line);
  return [request_id, method, path, status].join(" ");
}
