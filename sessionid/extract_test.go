package sessionid_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

const (
	uuidA = "8a218e62-bb55-446a-bc6c-b288fc65f5b5"
	uuidB = "d10b880b-b20e-4696-9a26-c00bbcc94fd1"
)

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func extract(t *testing.T, h http.Header, body string) sessionid.ID {
	t.Helper()
	return sessionid.Extract(h, []byte(body))
}

func primary(t *testing.T, h http.Header, body string) sessionid.Key {
	t.Helper()
	id := extract(t, h, body)
	require.False(t, id.IsZero(), "no session in %v %.200s", h, body)
	return id.Primary()
}

func TestEveryHeaderOfTheCensusNamesASession(t *testing.T) {
	for _, name := range []string{
		"X-Claude-Code-Session-Id", "session-id", "session_id", "conversation_id", "x-opencode-session",
		"X-Client-Session-Id", "X-Task-ID", "X-Roo-Task-ID", "X-KILOCODE-TASKID", "x-amp-thread-id",
		"agent-session-id", "x-grok-conv-id", "x-grok-session-id", "X-Session-ID", "X-Session-Affinity",
		"x-litellm-session-id", "Helicone-Session-Id", "x-bf-session-id", "x-ms-session-id", "X-Merge-Thread-Id",
		"X-Dynamo-Session-ID", "x-smg-routing-key", "x-aibrix-session-key", "X-OpenWebUI-Chat-Id", "X-Cagent-Session-Id",
	} {
		a := extract(t, headers(name, uuidA), "")
		require.False(t, a.IsZero(), name)
		require.True(t, strings.EqualFold(name, a.Signal().Name), name)
		require.Equal(t, a.Primary(), primary(t, headers(name, uuidA), `{"messages":[{"role":"user","content":"x"}]}`), name)
		require.NotEqual(t, a.Primary(), primary(t, headers(name, uuidB), ""), name)
	}
}

func TestHeadersThatNameSomethingElseAreNoSession(t *testing.T) {
	for _, name := range []string{
		"x-client-request-id", "x-request-id", "traceparent", "Idempotency-Key", "thread-id", "x-parent-session-id",
		"VScode-SessionId", "VScode-MachineId", "x-codex-installation-id", "X-KILOCODE-PROJECTID", "Mcp-Session-Id",
		"x-session-token", "X-Interaction-Id", "x-codex-window-id",
	} {
		id := extract(t, headers(name, uuidA), "")
		require.True(t, id.IsZero(), name)
	}
}

func TestEveryBodyPathOfTheCensusNamesASession(t *testing.T) {
	for path, format := range map[string]string{
		"metadata.user_id (json)":         `{"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"%s\"}"}}`,
		"metadata.user_id (tail)":         `{"metadata":{"user_id":"user_0123abcd_account__session_%s"}}`,
		"client_metadata.session_id":      `{"client_metadata":{"session_id":"%s"}}`,
		"metadata.session_id":             `{"metadata":{"session_id":"%s"}}`,
		"metadata.sessionId":              `{"metadata":{"sessionId":"%s"}}`,
		"metadata.cursorConversationId":   `{"metadata":{"cursorConversationId":"%s"}}`,
		"litellm_session_id":              `{"litellm_session_id":"%s"}`,
		"unbound_metadata.taskId":         `{"unbound_metadata":{"taskId":"%s"}}`,
		"requesty.trace_id":               `{"requesty":{"trace_id":"%s"}}`,
		"session_id":                      `{"session_id":"%s"}`,
		"sessionId":                       `{"sessionId":"%s"}`,
		"conversation":                    `{"conversation":"%s"}`,
		"conversation.id":                 `{"conversation":{"id":"%s"}}`,
		"conversation_id":                 `{"conversation_id":"%s"}`,
		"thread_id":                       `{"thread_id":"%s"}`,
		"chat_id":                         `{"chat_id":"%s"}`,
		"request.session_id":              `{"request":{"session_id":"%s"}}`,
		"prompt_cache_key":                `{"prompt_cache_key":"%s"}`,
		"prompt_cache_key (guardian)":     `{"prompt_cache_key":"guardian:%s"}`,
		"prompt_cache_key (agents sdk)":   `{"prompt_cache_key":"agents-sdk:session:%s"}`,
		"escaped member name":             `{"sess\u0069on_id":"%s"}`,
		"the last of duplicates":          `{"session_id":"other","session_id":"%s"}`,
		"user_prompt_id":                  `{"user_prompt_id":"%s########3"}`,
		"white space":                     " \n{ \"session_id\" : \"%s\" } \n",
		"a nested one is somebody's data": `{"tools":[{"session_id":"other"}],"session_id":"%s"}`,
	} {
		a := primary(t, nil, fmt.Sprintf(format, uuidA))
		require.Equal(t, a, primary(t, nil, fmt.Sprintf(format, uuidA)), path)
		require.NotEqual(t, a, primary(t, nil, fmt.Sprintf(format, uuidB)), path)
	}
}

func TestBodiesThatNameNoSession(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                     ``,
		"not json":                  `hello`,
		"array":                     `[{"session_id":"` + uuidA + `"}]`,
		"truncated":                 `{"session_id":"` + uuidA + `"`,
		"truncated string":          `{"session_id":"` + uuidA,
		"two objects":               `{"session_id":"` + uuidA + `"}{}`,
		"number":                    `{"session_id":12345}`,
		"object":                    `{"session_id":{"a":"b"}}`,
		"array value":               `{"session_id":["` + uuidA + `"]}`,
		"null":                      `{"session_id":null}`,
		"last duplicate is no id":   `{"session_id":"` + uuidA + `","session_id":7}`,
		"inside a tool result":      `{"messages":[],"tools":[{"session_id":"` + uuidA + `"}]}`,
		"only a system prompt":      `{"messages":[{"role":"system","content":"be good"}]}`,
		"only an empty message":     `{"messages":[{"role":"user","content":""}]}`,
		"run of the agents sdk":     `{"prompt_cache_key":"agents-sdk:run:00ff"}`,
		"bucket of an application":  `{"prompt_cache_key":"tenant:acme:support-v1"}`,
		"user":                      `{"user":"bob","safety_identifier":"bob"}`,
		"gzip":                      "\x1f\x8b\x08\x00\x00\x00\x00\x00",
		"a prompt template's name":  `{"prompt":{"id":"pmpt_1"}}`,
		"response chain, H not key": `{"previous_response_id":"resp_1"}`,
	} {
		id := extract(t, nil, body)
		require.True(t, id.IsZero(), "%s: %v", name, id)
	}
}

func TestStrongerSignalsComeFirst(t *testing.T) {
	claude := `{"messages":[{"role":"user","content":"x"}],"metadata":{"user_id":"user_ab_account__session_` + uuidA + `"},"conversation_id":"c-77"}`
	onlyClaude := primary(t, nil, `{"metadata":{"user_id":"user_ab_account__session_`+uuidA+`"}}`)

	t.Run("a Claude id wins over a generic header", func(t *testing.T) {
		id := extract(t, headers("X-Session-ID", "proxy-1"), claude)
		require.Equal(t, onlyClaude, id.Primary())
		require.Contains(t, id.Names(), primary(t, headers("X-Session-ID", "proxy-1"), ""), "the header's id is another name of the session")
		require.Equal(t, 1, id.Leading())
		id = extract(t, headers("X-Session-ID", "proxy-1"), strings.Replace(claude, "{", `{"metadata":{"user_id":"bob"},`, 1))
		require.Equal(t, onlyClaude, id.Primary(), "the last of duplicate members counts")
		id = extract(t, headers("X-Session-ID", "proxy-1"), `{"metadata":{"user_id":"user_ab_account__session_`+uuidA+`"},"messages":[]}`)
		require.Equal(t, sessionid.KindGenericHeader, id.Signal().Kind, "only a member after the last list counts")
	})
	t.Run("a native header wins over all, the body is not read", func(t *testing.T) {
		id := extract(t, headers("X-Session-ID", "proxy-1", "X-Claude-Code-Session-Id", uuidB), claude)
		require.Equal(t, primary(t, headers("X-Claude-Code-Session-Id", uuidB), ""), id.Primary())
		require.NotContains(t, id.Names(), onlyClaude)
	})
	t.Run("the generic headers are names beside it", func(t *testing.T) {
		native, generic := headers("X-Claude-Code-Session-Id", uuidB), headers("X-Session-Id", "a", "X-Session-Affinity", "b")
		both := native.Clone()
		for name, v := range generic {
			both[name] = v
		}
		with, without := extract(t, both, ""), extract(t, generic, "")
		require.Equal(t, append([]sessionid.Key{primary(t, native, "")}, without.Names()...), with.Names())
		require.Equal(t, 1, with.Leading())
		require.Equal(t, 2, without.Leading())
		for i := range 40 { // more headers than are walked over
			both.Set(fmt.Sprintf("X-Other-%d", i), "x")
		}
		many := extract(t, both, "")
		require.Equal(t, with.Names(), many.Names())
		rare := extract(t, headers("X-Task-Id", "t", "X-Session-Id", "a", "X-Session-Affinity", "b", "X-Bf-Session-Id", "c", "X-Ms-Session-Id", "d"), "")
		require.Len(t, rare.Names(), 4, "there are no more names than there is room for")
		require.Equal(t, 1, rare.Leading())
		twice := extract(t, headers("X-Session-Id", "a", "X-Session-Affinity", "a"), "")
		require.Equal(t, 1, twice.Leading(), "equal ids are one name")
	})
	t.Run("all ids of the strongest kind lead", func(t *testing.T) {
		id := extract(t, nil, `{"prompt_cache_key":"`+uuidB+`","conversation_id":"c","thread_id":"t"}`)
		require.Equal(t, 2, id.Leading())
		id = extract(t, headers("X-Client-Request-Id", uuidB), `{"prompt_cache_key":"`+uuidB+`","conversation_id":"c"}`)
		require.Len(t, id.Names(), 2)
		require.Equal(t, 1, id.Leading(), "the cache key is one of the other names")
		id = extract(t, nil, `{"prompt_cache_key":"`+uuidB+`"}`)
		require.Zero(t, id.Leading())
	})
	t.Run("of two native ids the last in the body counts", func(t *testing.T) {
		codex, claude := `"client_metadata":{"session_id":"c-1"}`, `"metadata":{"user_id":"user_ab_account__session_`+uuidA+`"}`
		require.Equal(t, onlyClaude, primary(t, nil, `{`+codex+`,`+claude+`}`))
		id := extract(t, nil, `{`+claude+`,`+codex+`,"prompt_cache_key":"`+uuidB+`"}`)
		require.Equal(t, "client_metadata.session_id", id.Signal().Name)
		require.Len(t, id.Names(), 1)
		require.Zero(t, id.Weak())
	})
	t.Run("Claude's header and metadata are one name", func(t *testing.T) {
		require.Equal(t, onlyClaude, primary(t, headers("X-Claude-Code-Session-Id", uuidA), ""))
	})
	t.Run("a header wins over weaker body members", func(t *testing.T) {
		body := `{"conversation_id":"c-77","metadata":{"user_id":"bob"},"prompt_cache_key":"` + uuidB + `"}`
		require.Equal(t, primary(t, headers("X-Session-ID", "s-1"), ""), primary(t, headers("X-Session-ID", "s-1"), body))
	})
	t.Run("a conversation wins over the cache key, which is kept as weak", func(t *testing.T) {
		id := extract(t, nil, `{"prompt_cache_key":"`+uuidB+`","conversation_id":"c-77"}`)
		require.Equal(t, primary(t, nil, `{"conversation_id":"c-77"}`), id.Primary())
		weak := extract(t, nil, `{"prompt_cache_key":"`+uuidB+`"}`)
		require.Equal(t, weak.Primary(), id.Weak())
		require.Empty(t, weak.Names())
	})
	t.Run("a plain user is none", func(t *testing.T) {
		with := extract(t, nil, `{"metadata":{"user_id":"bob"},"messages":[{"role":"user","content":"hi there"}]}`)
		require.Equal(t, sessionid.KindContent, with.Signal().Kind)
		without := extract(t, nil, `{"metadata":{"user_id":"bob"}}`)
		require.True(t, without.IsZero())
	})
}

func TestSameUserIDWithDifferentContentIsNotOneSession(t *testing.T) {
	seen := map[sessionid.Key]bool{}
	for i := range 100 {
		seen[primary(t, nil, fmt.Sprintf(`{"metadata":{"user_id":"bob"},"messages":[{"role":"user","content":"question %d"}]}`, i))] = true
	}
	require.Len(t, seen, 100)
}

func TestSeparatorsInIDsNeverMatchAnotherKey(t *testing.T) {
	seen := map[sessionid.Key]string{}
	for _, v := range []string{"x::pck:y", "a::b", "a", "b", "x", "y", "a:b", ":a", "a:", "pck:y", "x|y", "x/y", "session:x"} {
		for _, place := range []string{"X-Session-Id", "X-Claude-Code-Session-Id", "Session-Id"} {
			k := primary(t, headers(place, v), "")
			require.Empty(t, seen[k], "%s in %s", v, place)
			seen[k] = place + "=" + v
		}
	}
}

func TestPlaceholdersAndBrokenValuesAreNoIDs(t *testing.T) {
	for name, v := range map[string]string{
		"257 bytes": strings.Repeat("a", 257), "newline": "a\nb", "nul": "a\x00b", "delete": "a\x7fb", "empty": "", "blanks": " \t ",
		"null": "null", "Null": "Null", "undefined": "undefined", "default": "default", "zero": "0", "zeros": "000000",
		"zero uuid": "00000000-0000-0000-0000-000000000000", "template": "{{session_id}}", "in the middle": "x-{{id}}",
		"shell": "${SESSION}", "angle": "<session-id>", "percent": "%SESSION%", "not utf-8": "a\xff\xfeb",
	} {
		id := extract(t, http.Header{"X-Session-Id": {v}}, "")
		require.True(t, id.IsZero(), "header, %s", name)
		id = extract(t, http.Header{"X-Claude-Code-Session-Id": {v}}, "")
		require.True(t, id.IsZero(), "native header, %s", name)
		if name == "not utf-8" { // quote has replaced the bytes
			continue
		}
		id = extract(t, nil, fmt.Sprintf(`{"session_id":%s}`, quote(v)))
		require.True(t, id.IsZero(), "body, %s", name)
		id = extract(t, nil, fmt.Sprintf(`{"metadata":{"user_id":%s}}`, quote(fmt.Sprintf(`{"session_id":%s}`, quote(v)))))
		require.NotEqual(t, sessionid.KindNativeBody, id.Signal().Kind, "metadata, %s", name)
	}
	require.Equal(t, primary(t, headers("X-Session-Id", "good"), ""), primary(t, http.Header{"X-Session-Id": {"", "good"}}, ""),
		"an empty first value does not hide a good second one")
	require.False(t, primary(t, headers("X-Session-Id", strings.Repeat("a", 256)), "") == primary(t, headers("X-Session-Id", strings.Repeat("a", 255)), ""))
}

func TestAnIDShowsNothingOfWhatTheClientSent(t *testing.T) {
	id := extract(t, headers("X-Session-Id", "sk-secret-0123456789"), "")
	for _, s := range []string{id.String(), fmt.Sprintf("%v %+v %#v %s", id, id, id, id), id.LogValue().String()} {
		require.NotContains(t, s, "secret")
	}
	require.Equal(t, "none", sessionid.ID{}.String())
}
