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
	require.Equal(t, "conversation.id", conv.Signal().Name, "a conversation that the server keeps is both")
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

func TestOwnersAreFoundAsFarAsTheBodyIsRead(t *testing.T) {
	body := large("", `,"previous_response_id":"resp_1"`, `,"session_id":"s"`)
	always := extractor(t, &sessionid.Options{OwnersEverywhere: true})
	for name, h := range map[string][]string{"header": {"Session-Id", uuidA}, "generic header": {"X-Session-Id", uuidA}, "none": nil} {
		id := extract(t, headers(h...), body)
		require.Empty(t, id.Owners(), "%s: the middle is not read", name)
		all := always.Extract(headers(h...), []byte(body))
		require.Len(t, all.Owners(), 1, name)
		require.Equal(t, id.Primary(), all.Primary(), name)
		require.Equal(t, id.Signal(), all.Signal(), name)
	}
	many := extract(t, nil, `{"previous_response_id":"a","previous_interaction_id":"b","container":"c","cachedContent":"d"}`)
	require.Len(t, many.Owners(), 3)
}
