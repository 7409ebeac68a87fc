// Plays the scripts of sdks.test.mjs. It must be imported before any SDK: it replaces the global
// fetch by one that records the answers to each conversation, and changes nothing else.
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

export const apiKey = 'one-key-for-all';
export const system = 'You are an assistant. Look things up.';
// Fewer sessions than auths: otherwise the balancer alone could choose a conversation's auth
// again in the next turn.
const sessions = 6;
const turns = 3;

const current = new AsyncLocalStorage();
const stray = []; // requests that belong to no conversation
const realFetch = globalThis.fetch;

globalThis.fetch = async (input, init) => {
  const url = new URL(input.url ?? input);
  const headers = new Headers(init?.headers ?? input.headers);
  const seen = {
    request: `${init?.method ?? input.method ?? 'GET'} ${url.pathname.replace(/conv_\w+/, 'conv_')}${url.search}`,
    retry: headers.get('x-stainless-retry-count') ?? '0',
  };
  const conversation = current.getStore();
  (conversation?.answers ?? stray).push(seen);
  const response = await realFetch(input, init);
  seen.status = response.status;
  for (const part of (response.headers.get('x-llmaffinity') ?? '').split('; ')) {
    const [name, value] = part.split('=');
    if (['auth', 'outcome', 'signal'].includes(name)) seen[name] = value;
  }
  return response;
};

// look is the tool of all conversations.
export function look({ query }) {
  assert.match(query, /^[0-9a-f]{16}$/);
  current.getStore().looked++;
  return `found ${query}`;
}

// parameters is the JSON schema of look's arguments.
export const parameters = {
  type: 'object',
  properties: { query: { type: 'string' } },
  required: ['query'],
  additionalProperties: false,
};

// Two gateways: one with affinity, and the control, without it.
const gateways = { affine: '-affinity', plain: '-affinity=false' };
const running = [];

before(async () => {
  for (const [name, flag] of Object.entries(gateways)) {
    const flags = ['-serve', '-tool-calls', '-decision-header', '-auths', '8', '-listen', '127.0.0.1:0', flag];
    const gateway = spawn(process.env.GATEWAY, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
    const it = { gateway, flag, said: '', log: '', closed: once(gateway, 'close') };
    running.push(it);
    gateway.stderr.on('data', (text) => (it.log += text));
    const serves = new Promise((resolve) => {
      gateway.stdout.on('data', (text) => {
        it.said += text;
        if (it.said.includes('\n')) resolve();
      });
    });
    await Promise.race([serves, it.closed]);
    assert.match(it.said, /http:/, it.log);
    [gateways[name]] = it.said.match(/http:\/\/[0-9.:]+/);
  }
});

// The log of each gateway must be empty: a gateway logs each failure of an auth.
after(async () => {
  for (const { gateway } of running) gateway.kill('SIGTERM');
  for (const it of running) {
    const [code] = await it.closed;
    assert.deepEqual([code, it.log], [0, ''], it.flag);
    console.log(`gateway ${it.flag}: ${it.said.trim().split('\n').slice(1).join('; ')}`);
  }
});

// play has all conversations of a script at the same time. A turn begins when all conversations
// have ended the turn before, so their requests are certainly interleaved.
async function play(script, url, alike = false) {
  const begin = script.dial(url);
  const all = Array.from({ length: sessions }, () => ({ answers: [], looked: 0 }));
  for (let turn = 0; turn < turns; turn++) {
    const talking = all.map((conversation, i) =>
      current.run(conversation, async () => {
        if (conversation.error) return;
        try {
          if (turn === 0) conversation.say = await begin();
          const first = alike ? 'Hi' : `This is task ${i} of "${script.name}".`;
          assert.match(await conversation.say(turn === 0 ? first : 'And then?'), /^Answer /);
        } catch (error) {
          conversation.error = error;
        }
      }),
    );
    await Promise.all(talking);
  }
  return all;
}

// auths returns the auths that have answered the requests that contain part, each once.
const auths = (answers, part, from = 0) =>
  new Set(answers.filter((a) => a.request.includes(part)).slice(from).map((a) => a.auth));

const count = (counts, name) => (counts[name] = (counts[name] ?? 0) + 1);

// checkTalk checks what must be true of each conversation with affinity: all requests were sent
// once, and all were answered.
function checkTalk({ opens = [], turn, tool }, { error, answers, looked }) {
  assert.ifError(error);
  const want = [...opens, ...Array(turns).fill(turn).flat()];
  assert.deepEqual(answers.map((a) => a.request), want);
  for (const { status, retry } of answers) assert.deepEqual([status, retry], [200, '0']);
  assert.equal(looked, tool ? turns : 0);
}

// run plays a script with affinity, and each conversation must stay on its auth. Then it plays
// the script without affinity, and most conversations must not stay. A script has
//
//   name     the API, and the features that it uses
//   opens    the requests before the first turn
//   turn     the requests of each turn
//   tool     whether each turn has a call of the tool
//   outcome  the decision's outcome that is expected for a request, by its number in the
//            conversation and its text; without it the first request is new, and the content
//            finds the session of the others
//   parts    texts in requests; the requests with the same text must have one auth (stored
//            state can have another auth than the turns)
//   dial     makes the SDK's client, one for all conversations; returns a function that begins
//            a conversation, which returns say(text), a function that has one turn of it
export function run(script) {
  const { name, outcome = (i) => (i ? 'hit' : 'new'), parts = [''] } = script;
  test(name, async (t) => {
    const perAuth = {};
    const by = {};
    for (const c of await play(script, gateways.affine)) {
      checkTalk(script, c);
      c.answers.forEach((a, i) => {
        assert.equal(a.outcome, outcome(i, a.request), `request ${i}`);
        count(by, `${a.outcome} by ${a.signal}`);
      });
      for (const part of parts) assert.equal(auths(c.answers, part).size, 1, part);
      count(perAuth, c.answers.at(-1).auth);
    }
    const spread = Object.keys(perAuth).length;
    assert.ok(spread > sessions / 2, `the conversations use too few auths: ${JSON.stringify(perAuth)}`);
    const stays = (c) => !c.error && parts.every((part) => auths(c.answers, part).size === 1);
    const stayed = (await play(script, gateways.plain)).filter(stays).length;
    assert.ok(stayed < sessions / 2, `without affinity ${stayed} conversations have stayed on one auth: the test proves nothing`);
    assert.deepEqual(stray, []);
    t.diagnostic(`${JSON.stringify(by)} over ${spread} auths; without affinity ${stayed} of ${sessions} conversations stay`);
  });
  // All conversations begin with the same words. Only their first answers differ, so the first
  // request of a conversation may go to any auth.
  test(`${name}, all begin alike`, async () => {
    for (const c of await play(script, gateways.affine, true)) {
      checkTalk(script, c);
      for (const part of parts) assert.equal(auths(c.answers, part, 1).size, 1, part);
    }
    assert.deepEqual(stray, []);
  });
}

// called returns the name of a script: the API, and the features that it uses.
export const called = (name, stream, tool) => name + (stream ? ', streamed' : '') + (tool ? ', tool' : '');

// asks returns the requests of a turn. A call of the tool needs a second one.
export const asks = (request, tool) => Array(tool ? 2 : 1).fill(request);
