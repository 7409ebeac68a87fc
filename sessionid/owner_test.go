package sessionid_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

func TestStateBehindOneAuthIsNoSession(t *testing.T) {
	for name, body := range map[string]string{
		"previous_response_id":       `{"previous_response_id":"resp_1","model":"m"}`,
		"previous_interaction_id":    `{"previous_interaction_id":"resp_1"}`,
		"container":                  `{"container":"resp_1"}`,
		"container.id":               `{"container":{"id":"resp_1","skills":[]}}`,
		"cachedContent":              `{"cachedContent":"resp_1"}`,
		"cached_content":             `{"cached_content":"resp_1"}`,
		"thread.previous_message_id": `{"thread":{"previous_message_id":"resp_1"}}`,
		"session_params.id":          `{"session_params":{"id":"resp_1"}}`,
	} {
		id := extract(t, nil, body)
		require.True(t, id.IsZero(), name)
		require.Equal(t, []sessionid.Owner{{Name: name, Key: sessionid.OwnerKey(name, "resp_1")}}, id.Owners(), name)
		id = extract(t, nil, strings.ReplaceAll(body, `"resp_1"`, `null`))
		require.Empty(t, id.Owners(), name)
	}
	require.Equal(t, sessionid.OwnerKey("container", "c"), sessionid.OwnerKey("container.id", "c"))
	require.NotEqual(t, sessionid.OwnerKey("container", "c"), sessionid.OwnerKey("previous_response_id", "c"))
	require.Zero(t, sessionid.OwnerKey("container", "null"))

	conv := extract(t, nil, `{"conversation":{"id":"conv_1"}}`)
	require.Equal(t, "conversation.id", conv.Signal().Name, "a conversation that the provider keeps is the session and the owner")
	require.Equal(t, []sessionid.Owner{{Name: "conversation.id", Key: sessionid.OwnerKey("conversation", "conv_1")}}, conv.Owners())
	mine := extract(t, nil, `{"conversation":"my-chat"}`)
	require.Empty(t, mine.Owners())

	turn := extract(t, headers("session-id", uuidA, "x-codex-turn-state", strings.Repeat("t", 1000)), "")
	require.Equal(t, sessionid.OwnerKey("X-Codex-Turn-State", strings.Repeat("t", 1000)), turn.Owners()[0].Key)
	require.Equal(t, primary(t, headers("session-id", uuidA), ""), turn.Primary())
}

func TestEqualWordsBehindTwoHistoriesAreTwoConversations(t *testing.T) {
	yes := `"input":[{"role":"user","content":"yes, go on"}]`
	different(t, `{"previous_response_id":"resp_1",`+yes+`}`, `{"previous_response_id":"resp_2",`+yes+`}`, "the history is the response")
	different(t, `{`+yes+`}`, `{`+yes+`,"previous_response_id":"resp_2"}`, "with and without")
	same(t, `{`+yes+`,"previous_response_id":"resp_2"}`, `{"previous_response_id":"resp_2",`+yes+`}`, "a retry")
	same(t, `{`+yes+`,"container":"c1"}`, `{"container":"c2",`+yes+`}`, "a container holds no history")
}

// Which owners are found depends on the order of the members, and not on the
// body's size.
func TestOwnersAreFoundAsFarAsTheBodyIsRead(t *testing.T) {
	always := extractor(t, &sessionid.Options{OwnersEverywhere: true})
	claude := `,"metadata":{"user_id":"{\"session_id\":\"` + uuidA + `\"}"}`
	for name, c := range map[string]struct {
		header      []string
		front, back string
		want        int
	}{
		"a native header": {[]string{"Session-Id", uuidA}, "", `,"container":"c-1"`, 0},
		"a generic header, in front of the last list":   {[]string{"X-Session-Id", uuidA}, `"container":"c-1",`, "", 0},
		"a generic header, behind the last list":        {[]string{"X-Session-Id", uuidA}, "", `,"container":"c-1"`, 1},
		"a native id at the end, the owner in front":    {nil, `"container":"c-1",`, claude, 0},
		"a native id at the end, the owner in the end":  {nil, "", `,"container":"c-1"` + claude, 1},
		"a native id in front, the owner behind it":     {nil, strings.TrimPrefix(claude, ",") + ",", `,"container":"c-1"`, 1},
		"a native id in front, and the owner too":       {nil, `"container":"c-1"` + claude + ",", "", 1},
		"another id at the end, the owner in front":     {nil, `"container":"c-1",`, `,"session_id":"s"`, 1},
		"no id, the owner in front":                     {nil, `"container":"c-1",`, "", 1},
		"an id in both headers, the owner where it may": {[]string{"Session-Id", uuidA, "X-Session-Id", uuidA}, `"container":"c-1",`, `,"container":"c-1"`, 0},
	} {
		for size, words := range map[string]int{"small": 1, "large": 3000, "huge": 30000} {
			list := `"messages":[{"role":"user","content":` + quote(strings.Repeat("word ", words)) + `}]`
			body := `{` + c.front + list + c.back + `}`
			id := extract(t, headers(c.header...), body)
			require.Len(t, id.Owners(), c.want, "%s, %s", name, size)
			all := always.Extract(headers(c.header...), []byte(body))
			require.Len(t, all.Owners(), 1, "%s, %s", name, size)
			require.Equal(t, id.Names(), all.Names(), "%s, %s", name, size)
			require.Equal(t, id.Signal(), all.Signal(), "%s, %s", name, size)
		}
	}
	many := extract(t, nil, `{"previous_response_id":"a","previous_interaction_id":"b","container":"c","cachedContent":"d"}`)
	require.Len(t, many.Owners(), 3)
}
