// Tests SDKs for Node with examples/gateway, whose provider is simulated. The SDKs get a base URL
// and an API key, and nothing for affinity. All conversations have the same key, so only the
// library can tell them apart. ../run starts it.
import { apiKey, asks, called, look, parameters, run, system } from './harness.mjs';

import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool as langchainTool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { Agent, OpenAIConversationsSession, OpenAIProvider, Runner, tool as agentsTool } from '@openai/agents';
import { generateText, isStepCount, streamText, tool as aiTool } from 'ai';
import OpenAI from 'openai';
import { z } from 'zod';

const gpt = 'gpt-5.2';
const claude = 'claude-opus-5-5';
const description = 'Looks things up.';
const both = [false, true];

// each calls make with all values of stream and tool.
const each = (make) => both.forEach((stream) => both.forEach((tool) => run(make(stream, tool))));

const again = () => new Error("the model has answered a tool's result with another call, want words");

// openai

each((stream, tool) => ({
  name: called('openai: chat completions', stream, tool),
  turn: asks('POST /v1/chat/completions', tool),
  tool,
  dial(url) {
    const client = new OpenAI({ apiKey, baseURL: `${url}/v1` });
    const tools = tool ? [{ type: 'function', function: { name: 'look', description, parameters } }] : undefined;
    return () => {
      const messages = [{ role: 'system', content: system }];
      return async (text) => {
        messages.push({ role: 'user', content: text });
        for (let i = 0; i < 2; i++) {
          const body = { model: gpt, messages, tools };
          const { choices } = await (stream
            ? client.chat.completions.stream(body).finalChatCompletion()
            : client.chat.completions.create(body));
          const { message } = choices[0];
          messages.push(message);
          if (!message.tool_calls?.length) return message.content;
          for (const call of message.tool_calls) {
            messages.push({ role: 'tool', tool_call_id: call.id, content: look(JSON.parse(call.function.arguments)) });
          }
        }
        throw again();
      };
    };
  },
}));

for (const stream of both) {
  run({
    name: called('openai: runTools', stream, true),
    turn: asks('POST /v1/chat/completions', true),
    tool: true,
    dial(url) {
      const client = new OpenAI({ apiKey, baseURL: `${url}/v1` });
      const tools = [{ type: 'function', function: { name: 'look', description, parameters, function: look, parse: JSON.parse } }];
      return () => {
        let messages = [{ role: 'system', content: system }];
        return async (text) => {
          const runner = client.chat.completions.runTools({ model: gpt, stream, tools, messages: [...messages, { role: 'user', content: text }] });
          const answer = await runner.finalContent();
          messages = runner.messages;
          return answer;
        };
      };
    },
  });
}

// The client sends the whole history, or names the history that the provider has stored.
for (const keeps of ['', 'previous_response_id', 'conversation']) {
  each((stream, tool) => ({
    name: called(`openai: responses${keeps && `, ${keeps}`}`, stream, tool),
    opens: keeps === 'conversation' ? ['POST /v1/conversations'] : [],
    turn: asks('POST /v1/responses', tool),
    tool,
    outcome: { previous_response_id: (i) => (i ? 'owner' : 'new'), conversation: (i) => (i ? 'owner' : 'none') }[keeps],
    dial(url) {
      const client = new OpenAI({ apiKey, baseURL: `${url}/v1` });
      const tools = tool ? [{ type: 'function', name: 'look', description, parameters, strict: true }] : undefined;
      return async () => {
        const body = { model: gpt, instructions: system, tools };
        if (keeps === 'conversation') body.conversation = (await client.conversations.create({})).id;
        if (keeps === '') body.store = false;
        let input = [];
        return async (text) => {
          input.push({ role: 'user', content: text });
          for (let i = 0; i < 2; i++) {
            const response = await (stream
              ? client.responses.stream({ ...body, input }).finalResponse()
              : client.responses.create({ ...body, input }));
            if (keeps === '') input.push(...response.output);
            else input = [];
            if (keeps === 'previous_response_id') body.previous_response_id = response.id;
            const calls = response.output.filter((item) => item.type === 'function_call');
            if (!calls.length) return response.output_text;
            for (const call of calls) {
              input.push({ type: 'function_call_output', call_id: call.call_id, output: look(JSON.parse(call.arguments)) });
            }
          }
          throw again();
        };
      };
    },
  }));
}

// @anthropic-ai/sdk

each((stream, tool) => ({
  name: called('@anthropic-ai/sdk: messages', stream, tool),
  turn: asks('POST /v1/messages', tool),
  tool,
  dial(url) {
    const client = new Anthropic({ apiKey, baseURL: url });
    const tools = tool ? [{ name: 'look', description, input_schema: parameters }] : undefined;
    return () => {
      const messages = [];
      return async (text) => {
        messages.push({ role: 'user', content: text });
        for (let i = 0; i < 2; i++) {
          const body = { model: claude, max_tokens: 1024, system, tools, messages };
          const { content } = await (stream ? client.messages.stream(body).finalMessage() : client.messages.create(body));
          messages.push({ role: 'assistant', content });
          const calls = content.filter((block) => block.type === 'tool_use');
          if (!calls.length) return content[0].text;
          messages.push({
            role: 'user',
            content: calls.map((call) => ({ type: 'tool_result', tool_use_id: call.id, content: look(call.input) })),
          });
        }
        throw again();
      };
    };
  },
}));

for (const stream of both) {
  run({
    name: called('@anthropic-ai/sdk: tool runner', stream, true),
    turn: asks('POST /v1/messages', true),
    tool: true,
    // Each run is a new message thread at the provider.
    outcome: (i) => (i % 2 ? 'owner' : i ? 'hit' : 'new'),
    dial(url) {
      const client = new Anthropic({ apiKey, baseURL: url });
      const tools = [betaTool({ name: 'look', description, inputSchema: parameters, run: look })];
      return () => {
        let messages = [];
        return async (text) => {
          messages = [...messages, { role: 'user', content: text }];
          const runner = client.beta.messages.toolRunner({ model: claude, max_tokens: 1024, system, tools, messages, stream });
          const { content } = await runner.runUntilDone();
          messages = runner.params.messages;
          return content[0].text;
        };
      };
    },
  });
}

// The SDK names the last message instead of sending the history.
each((stream, tool) => ({
  name: called('@anthropic-ai/sdk: message thread', stream, tool),
  turn: asks('POST /v1/messages', tool),
  tool,
  outcome: (i) => (i ? 'owner' : 'new'),
  dial(url) {
    const client = new Anthropic({ apiKey, baseURL: url });
    const tools = [betaTool({ name: 'look', description, inputSchema: parameters, run: look })];
    return () => {
      const thread = client.beta.messages.thread({ model: claude, max_tokens: 1024, system, ...(tool && { tools }) });
      return async (text) => {
        const said = { role: 'user', content: text };
        let answer;
        if (tool) {
          thread.append(said);
          answer = await thread.toolRunner({ stream }).runUntilDone();
        } else {
          answer = await (stream ? thread.stream(said).finalMessage() : thread.send(said));
        }
        return answer.content[0].text;
      };
    };
  },
}));

// ai, with its own provider packages

const providers = {
  'openai, responses': ['POST /v1/responses', (url) => createOpenAI({ apiKey, baseURL: `${url}/v1` })(gpt)],
  'openai, chat completions': ['POST /v1/chat/completions', (url) => createOpenAI({ apiKey, baseURL: `${url}/v1` }).chat(gpt)],
  anthropic: ['POST /v1/messages', (url) => createAnthropic({ apiKey, baseURL: `${url}/v1` })(claude)],
};

for (const [provider, [request, modelAt]] of Object.entries(providers)) {
  each((stream, tool) => ({
    name: called(`ai: ${provider}`, stream, tool),
    turn: asks(request, tool),
    tool,
    dial(url) {
      const model = modelAt(url);
      const tools = tool ? { look: aiTool({ description, inputSchema: z.object({ query: z.string() }), execute: look }) } : undefined;
      return () => {
        const messages = [];
        return async (text) => {
          messages.push({ role: 'user', content: text });
          const options = { model, tools, messages, instructions: system, stopWhen: isStepCount(5) };
          const result = stream ? streamText({ ...options, onError() {} }) : await generateText(options);
          messages.push(...(await result.responseMessages));
          return result.text;
        };
      };
    },
  }));
}

// @openai/agents

// The runs of a conversation share the history, or what the provider has stored.
const agentRuns = {
  history: {},
  // Within a run the SDK names a response only if the run's first request has named one.
  previousResponseId: { outcome: (i, _, tool) => ['new', tool ? 'hit' : 'owner'][i] ?? 'owner' },
  conversationId: { opens: ['POST /v1/conversations'], outcome: (i) => (i ? 'owner' : 'none') },
  // The SDK's own session of this kind stores the history in a conversation at the provider. It
  // reads it from there, and sends it in requests that do not name the conversation.
  OpenAIConversationsSession: {
    opens: ['POST /v1/conversations'],
    before: ['GET /v1/conversations/conv_/items?order=asc'],
    behind: ['POST /v1/conversations/conv_/items'],
    outcome: (i, request) => (request.includes('/responses') ? (i === 2 ? 'new' : 'hit') : i ? 'owner' : 'none'),
    parts: ['/responses', '/conversations'],
  },
};

for (const [api, request, kinds] of [
  ['responses', 'POST /v1/responses', Object.keys(agentRuns)],
  ['chat completions', 'POST /v1/chat/completions', ['history']],
]) {
  for (const kind of kinds) {
    const { opens, before = [], behind = [], outcome, parts } = agentRuns[kind];
    each((stream, tool) => ({
      name: called(`@openai/agents: ${api}, ${kind}`, stream, tool),
      opens,
      turn: [...before, ...asks(request, tool), ...behind],
      tool,
      outcome: outcome && ((i, request) => outcome(i, request, tool)),
      parts,
      dial(url) {
        const client = new OpenAI({ apiKey, baseURL: `${url}/v1` });
        const modelProvider = new OpenAIProvider({ apiKey, baseURL: `${url}/v1`, useResponses: api === 'responses' });
        const runner = new Runner({ modelProvider, tracingDisabled: true });
        const tools = tool ? [agentsTool({ name: 'look', description, parameters: z.object({ query: z.string() }), execute: look })] : [];
        const agent = new Agent({ name: 'assistant', instructions: system, model: gpt, tools });
        return async () => {
          const options = { stream };
          if (kind === 'conversationId') options.conversationId = (await client.conversations.create({})).id;
          if (kind === 'OpenAIConversationsSession') options.session = new OpenAIConversationsSession({ client });
          let history = [];
          return async (text) => {
            const result = await runner.run(agent, [...history, { role: 'user', content: text }], options);
            if (stream) await result.completed;
            if (kind === 'history') history = result.history;
            if (kind === 'previousResponseId') options.previousResponseId = result.lastResponseId;
            return result.finalOutput;
          };
        };
      },
    }));
  }
}

// @langchain/openai

for (const api of ['chat completions', 'responses']) {
  each((stream, tool) => ({
    name: called(`@langchain/openai: ${api}`, stream, tool),
    turn: asks(api === 'responses' ? 'POST /v1/responses' : 'POST /v1/chat/completions', tool),
    tool,
    dial(url) {
      const chat = new ChatOpenAI({ apiKey, model: gpt, useResponsesApi: api === 'responses', configuration: { baseURL: `${url}/v1` } });
      const found = langchainTool(look, { name: 'look', description, schema: z.object({ query: z.string() }) });
      const model = tool ? chat.bindTools([found]) : chat;
      return () => {
        const messages = [new SystemMessage(system)];
        return async (text) => {
          messages.push(new HumanMessage(text));
          for (let i = 0; i < 2; i++) {
            let answer;
            if (stream) for await (const piece of await model.stream(messages)) answer = answer ? answer.concat(piece) : piece;
            else answer = await model.invoke(messages);
            messages.push(answer);
            if (!answer.tool_calls?.length) return answer.text;
            for (const call of answer.tool_calls) {
              messages.push(new ToolMessage({ tool_call_id: call.id, content: await found.invoke(call.args) }));
            }
          }
          throw again();
        };
      };
    },
  }));
}
