// The official OpenAI SDK for Node against a running Chorale: node sdk.mjs NODE_MODULES BASE_URL MODEL MCP_URL
//
// Prints one line a check, "ok NAME" or "FAIL NAME: why"; the Go test makes a subtest of each.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [modules, baseURL, model, mcpURL, site] = process.argv.slice(2);
const { default: OpenAI, toFile } = createRequire(modules + '/')('openai');
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0, timeout: 60_000 });

const weather = {
  type: 'function',
  name: 'get_weather',
  description: 'Current weather of a city',
  strict: true,
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  },
};
const question = 'What is the weather in Lisbon?';

const only = (response, type) => {
  const found = response.output.filter((item) => item.type === type);
  assert.equal(found.length, 1, `items of type ${type} in ${JSON.stringify(response.output)}`);
  return found[0];
};

const peer = { type: 'mcp', server_label: 'peer', server_url: mcpURL, allowed_tools: ['echo'], authorization: 'secret-token' };
const echo = 'Echo the text Hello there.';

const checks = {
  async web_search() {
    const kinds = [];
    const notes = [];
    const stream = client.responses.stream({ model, input: `What does ${site}/dogs say?`, tools: [{ type: 'web_search' }], temperature: 0, max_output_tokens: 500 });
    stream.on('event', (e) => { if (e.type.includes('web_search_call')) kinds.push(e.type.replace('response.web_search_call.', '')); });
    stream.on('event', (e) => { if (e.type === 'response.output_text.annotation.added') notes.push(e.annotation); });
    const final = await stream.finalResponse();
    assert.deepEqual(kinds, ['in_progress', 'searching', 'completed']);
    assert.deepEqual(only(final, 'web_search_call').action, { type: 'open_page', url: `${site}/dogs` });
    const text = only(final, 'message').content[0];
    assert.deepEqual(text.annotations, notes);
    assert.equal(notes[0].url, `${site}/dogs`);
    assert.ok([...text.text].slice(notes[0].start_index, notes[0].end_index).join('').endsWith(`(${site}/dogs))`));
  },

  // Lists, calls and their events through the strict stream.
  async mcp_stream() {
    const kinds = [];
    const stream = client.responses.stream({ model, input: echo, tools: [{ ...peer, require_approval: 'never' }], temperature: 0 });
    stream.on('event', (e) => { if (e.type.includes('mcp_')) kinds.push(e.type.replace('response.mcp_', '')); });
    const final = await stream.finalResponse();
    assert.deepEqual(kinds.filter((k) => !k.endsWith('delta')),
      ['list_tools.in_progress', 'list_tools.completed', 'call.in_progress', 'call_arguments.done', 'call.completed']);
    assert.deepEqual(only(final, 'mcp_list_tools').tools.map((t) => t.name), ['echo']);
    const call = only(final, 'mcp_call');
    assert.equal(call.status, 'completed');
    assert.ok(call.output.includes('Hello there') && final.output_text.includes('Hello there'));
    assert.ok(!JSON.stringify(final).includes('secret-token'));
  },

  async mcp_list_failed() {
    const kinds = [];
    const stream = client.responses.stream({ model, input: echo, tools: [{ ...peer, server_url: mcpURL + '/nowhere' }], temperature: 0 });
    stream.on('event', (e) => { if (e.type.includes('mcp_')) kinds.push(e.type); });
    const final = await stream.finalResponse();
    assert.deepEqual(kinds, ['response.mcp_list_tools.in_progress', 'response.mcp_list_tools.failed']);
    assert.ok(only(final, 'mcp_list_tools').error.startsWith("Error retrieving tool list from MCP server: 'peer'."));
  },

  async mcp_call_failed() {
    const tool = { ...peer, allowed_tools: ['refuse'], require_approval: 'never' };
    const stream = client.responses.stream({ model, input: 'Refuse the text Hello there.', tools: [tool], temperature: 0 });
    const kinds = new Set();
    stream.on('event', (e) => kinds.add(e.type));
    const call = only(await stream.finalResponse(), 'mcp_call');
    assert.equal(call.status, 'failed');
    assert.equal(call.error.type, 'mcp_tool_execution_error');
    assert.ok(kinds.has('response.mcp_call.failed'));
  },

  async mcp_approval() {
    const first = await client.responses.stream({ model, input: echo, tools: [peer], temperature: 0 }).finalResponse();
    const asked = only(first, 'mcp_approval_request');
    assert.ok(asked.name === 'echo' && asked.arguments.includes('Hello there'));
    const answer = { type: 'mcp_approval_response', approval_request_id: asked.id, approve: true };
    const second = await client.responses.stream(
      { model, input: [answer], previous_response_id: first.id, tools: [peer], temperature: 0 }).finalResponse();
    assert.equal(only(second, 'mcp_call').approval_request_id, asked.id);
    assert.ok(second.output_text.includes('Hello there'));
    const input = [{ role: 'user', content: echo }, ...first.output, answer];
    const stateless = await client.responses.stream({ model, input, tools: [peer], store: false, temperature: 0 }).finalResponse();
    assert.ok(only(stateless, 'mcp_call').output.includes('Hello there'));
  },

  async create_text() {
    const r = await client.responses.create({ model, input: 'Hello!', temperature: 0 });
    assert.equal(r.status, 'completed');
    assert.ok(r.output_text.trim());
    assert.ok(r._request_id);
  },

  async create_stream() {
    const events = [];
    for await (const e of await client.responses.create({ model, input: 'Hello!', temperature: 0, stream: true })) {
      if (e.type !== 'keepalive') events.push(e);
    }
    assert.equal(events[0].type, 'response.created');
    assert.equal(events.at(-1).type, 'response.completed');
    assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
  },

  // The strict one: it throws on unknown events, changed ids, gaps in indices and deltas without a part.
  async stream_helper() {
    const kinds = new Set();
    let text = '';
    const stream = client.responses.stream({ model, input: 'Hello!', temperature: 0 });
    stream.on('event', (e) => kinds.add(e.type));
    stream.on('response.output_text.delta', (e) => { text += e.delta; });
    const final = await stream.finalResponse();
    assert.equal(final.output_text, text);
    assert.ok(kinds.has('response.reasoning_text.delta'), [...kinds].join(' '));
    const stored = await client.responses.retrieve(final.id);
    assert.equal(stored.output_text, text);
  },

  async stream_helper_function_call() {
    let args = '';
    const stream = client.responses.stream({ model, input: question, tools: [weather], temperature: 0 });
    stream.on('response.function_call_arguments.delta', (e) => { args += e.delta; });
    const final = await stream.finalResponse();
    const call = only(final, 'function_call');
    assert.equal(call.arguments, args);
    assert.deepEqual(JSON.parse(args), { city: 'Lisbon' });
  },

  async parse() {
    const r = await client.responses.parse({ model, input: question, tools: [weather], temperature: 0 });
    assert.deepEqual(only(r, 'function_call').parsed_arguments, { city: 'Lisbon' });
  },

  async function_call_with_previous_response_id() {
    const first = await client.responses.stream({ model, input: question, tools: [weather], temperature: 0 }).finalResponse();
    const second = await client.responses
      .stream({
        model,
        tools: [weather],
        temperature: 0,
        previous_response_id: first.id,
        input: [{ type: 'function_call_output', call_id: only(first, 'function_call').call_id, output: '{"temperature": "17 degrees"}' }],
      })
      .finalResponse();
    assert.match(second.output_text, /17/);
  },

  async function_call_stateless() {
    const input = [{ role: 'user', content: question }];
    const first = await client.responses.create({ model, input, tools: [weather], store: false, temperature: 0 });
    input.push(...first.output);
    input.push({ type: 'function_call_output', call_id: only(first, 'function_call').call_id, output: '{"temperature": "17 degrees"}' });
    const second = await client.responses.create({ model, input, tools: [weather], store: false, temperature: 0 });
    assert.match(second.output_text, /17/);
  },

  async stored() {
    const r = await client.responses.create({ model, input: [{ role: 'user', content: 'Hello!' }, { role: 'user', content: 'Who are you?' }], temperature: 0 });
    const texts = [];
    for await (const item of client.responses.inputItems.list(r.id, { order: 'asc', limit: 1 })) texts.push(item.content[0].text);
    assert.deepEqual(texts, ['Hello!', 'Who are you?']);
    await client.responses.delete(r.id);
    await assert.rejects(client.responses.retrieve(r.id), OpenAI.NotFoundError);
  },

  async incomplete() {
    const r = await client.responses
      .stream({ model, input: 'Hello!', max_output_tokens: 16, reasoning: { effort: 'high' }, temperature: 0 })
      .finalResponse();
    assert.equal(r.status, 'incomplete');
    assert.equal(r.incomplete_details.reason, 'max_output_tokens');
  },

  // Its stream helper throws for events and items that do not fit together.
  async code_interpreter() {
    const tools = [{ type: 'code_interpreter', container: { type: 'auto' } }];
    let code = '';
    const kinds = [];
    const stream = client.responses.stream({
      model, input: 'What is 12345 * 6789?', tools, include: ['code_interpreter_call.outputs'], temperature: 0,
    });
    stream.on('event', (e) => { if (e.type.startsWith('response.code_interpreter')) kinds.push(e.type); });
    stream.on('response.code_interpreter_call_code.delta', (e) => { code += e.delta; });
    const final = await stream.finalResponse();
    const call = only(final, 'code_interpreter_call');
    assert.equal(call.code, code);
    assert.match(call.container_id, /^cntr_/);
    assert.match(call.outputs[0].logs, /83810205/);
    assert.match(final.output_text, /83810205/);
    assert.equal(kinds[0], 'response.code_interpreter_call.in_progress');
    assert.equal(kinds.at(-1), 'response.code_interpreter_call.completed');
    const second = await client.responses.create({ model, input: 'Hello!', tools, previous_response_id: final.id, temperature: 0 });
    assert.equal(second.status, 'completed');
  },

  async errors() {
    await assert.rejects(client.responses.create({ model: 'gpt-none', input: 'x' }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError);
      assert.equal(e.code, 'model_not_found');
      return true;
    });
    await assert.rejects(client.responses.stream({ model, input: 'x', top_p: 7 }).finalResponse(), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError, String(e));
      assert.equal(e.param, 'top_p');
      return true;
    });
  },

  async abort() {
    const stream = client.responses.stream({ model, input: 'Hello!', temperature: 0 });
    stream.on('response.created', () => stream.abort());
    await assert.rejects(stream.finalResponse(), OpenAI.APIUserAbortError);
  },

  async containers() {
    const c = await client.containers.create({ name: 'node', expires_after: { anchor: 'last_active_at', minutes: 5 }, memory_limit: '1g' });
    assert.equal(c.status, 'running');
    assert.equal(c.expires_after.minutes, 5);
    assert.equal((await client.containers.retrieve(c.id)).name, 'node');
    const found = [];
    for await (const other of client.containers.list({ name: 'node', limit: 1 })) found.push(other.id);
    assert.ok(found.includes(c.id));
    await client.containers.delete(c.id);
    await assert.rejects(client.containers.retrieve(c.id), OpenAI.NotFoundError);
    await assert.rejects(client.containers.create({ name: 'node', file_ids: ['file-1'] }), OpenAI.BadRequestError);
  },

  async container_files() {
    const c = await client.containers.create({ name: 'node' });
    const content = Buffer.alloc(300_000, 'Chorale');
    const files = [];
    for (const name of ['a.csv', 'größe.csv']) files.push(await client.containers.files.create(c.id, { file: await toFile(content, name) }));
    assert.deepEqual(files.map((f) => [f.path, f.bytes, f.source]), [['/mnt/data/a.csv', 300_000, 'user'], ['/mnt/data/größe.csv', 300_000, 'user']]);
    const listed = [];
    for await (const f of client.containers.files.list(c.id, { order: 'asc', limit: 1 })) listed.push(f);
    assert.deepEqual(listed, files);
    assert.deepEqual(await client.containers.files.retrieve(files[0].id, { container_id: c.id }), files[0]);
    const got = await client.containers.files.content.retrieve(files[0].id, { container_id: c.id });
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(content));
    await client.containers.files.delete(files[0].id, { container_id: c.id });
    await assert.rejects(client.containers.files.content.retrieve(files[0].id, { container_id: c.id }), OpenAI.NotFoundError);
    await assert.rejects(client.containers.files.create(c.id, { file_id: 'file-1' }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError, String(e));
      assert.equal(e.param, 'file_id');
      return true;
    });
    await assert.rejects(client.containers.files.create(c.id, { file: await toFile(Buffer.alloc((32 << 20) + 1), 'large') }), (e) => {
      assert.equal(e.status, 413);
      assert.equal(e.code, 'file_too_large');
      return true;
    });
    await client.containers.delete(c.id);
  },

  async models() {
    const page = await client.models.list();
    assert.ok(page.data.some((m) => m.id === model));
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log('ok', name);
  } catch (e) {
    const where = /sdk\.mjs:(\d+)/.exec(e.stack ?? '')?.[1] ?? '?';
    console.log('FAIL', `${name}: line ${where}: ${e.name}: ${e.message}`.replaceAll('\n', ' '));
  }
}
