// Drives the TypeScript SDK: node drive.mjs PACKAGES BASE_URL EXPECTED_TEXT.
// Prints what it saw as one JSON object; any surprise ends it with an error.
import { createRequire } from "node:module";
import { join } from "node:path";
import assert from "node:assert";

const [packages, baseURL, expected] = process.argv.slice(2);
const Anthropic = createRequire(join(packages, "package.json"))("@anthropic-ai/sdk").default;

const client = (plan) =>
  new Anthropic({
    baseURL,
    apiKey: null,
    authToken: "sk-ant-oat01-test",
    maxRetries: 0,
    defaultHeaders: { "x-sim": plan },
  });
const messages = [{ role: "user", content: "hello, how are you today? ".repeat(10) }];
const seen = { Streams: 0, Errors: [] };

for (let turn = 0; turn < 3; turn++) {
  const stream = client("deltas=50").messages.stream({ model: "claude-sim-1", max_tokens: 64, messages });
  let text = "";
  stream.on("text", (piece) => (text += piece));
  const final = await stream.finalMessage();
  assert.equal(text, expected);
  assert.equal(final.content[0].text, expected);
  messages.push({ role: "assistant", content: final.content }, { role: "user", content: "go on" });
  seen.Streams++;
}

seen.Tokens = (await client("name=count").messages.countTokens({ model: "claude-sim-1", messages })).input_tokens;
seen.Models = (await client("name=models").models.list({ limit: 1000 })).data.length;

for (const status of [400, 429, 529]) {
  try {
    await client(`status=${status}`).messages.create({ model: "claude-sim-1", max_tokens: 1, messages });
    assert.fail(`no error for ${status}`);
  } catch (err) {
    assert(err instanceof Anthropic.APIError, String(err));
    assert.match(err.requestID, /^req_sim/);
    seen.Errors.push(`${err.status} ${err.error.error.type}`);
  }
}
console.log(JSON.stringify(seen));
