import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as send } from "node:http";

const fields = ["title", "description", "completed"];
/** The texts of a JSON body that the log must not contain. Shorter ones, such as "x", are in any line. */
const texts = (body: string) => (body.match(/[^"\\]{4,}/g) ?? []).filter((text) => !fields.includes(text));

/**
 * A proxy that records the requests to a backend. check() asserts that the log has each request once, with the id of
 * its answer, and no token, no query and no text of a user.
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

/** The id, method, path and status in the line of a request, in either format. */
function readLine(line: string): string {
  if (!line.startsWith("{")) return line.replace(/^.*?todo_backend\.log (\S+): (.+) in [\d.]+ ms, user .+$/, "$1 $2");
  const { request_id, method, path, status } = JSON.parse(line);
  return [request_id, method, path, status].join(" ");
}
