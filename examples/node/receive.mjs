// Receive webhooks in Node.js: WEBHOOK_SECRET=whsec_… node receive.mjs 8500
import http from "node:http";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const BODY_BYTES_MAX = 1024 * 1024;
const taken = new Set(); // in a real receiver: a table with a unique key, in your own transaction

/** The body's bytes as they came: JSON that was parsed and written again has other ones. Undefined: too large. */
async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The status that a request is answered with. */
async function take(request) {
  if (request.method !== "POST") return 405;
  const body = await bodyOf(request);
  if (body === undefined) return 413;
  try {
    // jsonParse: false, so that a payload that is not JSON is no error of verification
    webhook.verify(body, request.headers, { jsonParse: false });
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) console.error(error);
    return 401;
  }
  const id = request.headers["webhook-id"]; // the same over all tries of a delivery
  if (!taken.has(id)) {
    taken.add(id);
    setImmediate(() => console.log(`${id} ${body}`)); // the work, after the answer
  }
  return 204;
}

const server = http.createServer(async (request, response) => {
  const status = await take(request).catch(() => 400); // the sender went away in the middle
  if (status === 405) response.setHeader("allow", "POST");
  if (status === 413) response.setHeader("connection", "close");
  response.writeHead(status).end();
});
server.listen(Number(process.argv[2] ?? 8500), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
