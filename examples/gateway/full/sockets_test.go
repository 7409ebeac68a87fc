package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// Conversations over WebSockets stay on the auth with their prompt cache, in all turns and over a
// new connection, which sends the whole history again. The provider's counts of cached tokens show
// it.
func TestConversationsOverWebSocketsStayWarm(t *testing.T) {
	url := started(t, nil, "-serve", "-auths", "5")
	for n := range 6 {
		session := fmt.Sprintf("0197f0d1-9f63-7c12-9d4e-00000000000%d", n)
		said := []any{map[string]any{"role": "user", "content": strings.Repeat(fmt.Sprintf("Conversation %d has much to say. ", n), 400)}}
		dial := func() *websocket.Conn {
			conn, _, err := websocket.Dial(t.Context(), url+"/v1/responses", &websocket.DialOptions{HTTPHeader: http.Header{"Session-Id": {session}, "Authorization": {"Bearer caller"}}})
			require.NoError(t, err)
			t.Cleanup(func() { conn.CloseNow() })
			conn.SetReadLimit(1 << 20)
			return conn
		}
		// turn sends a turn and returns its response.
		turn := func(conn *websocket.Conn, previous string, input []any) gjson.Result {
			frame := map[string]any{"type": "response.create", "model": "m", "store": false, "input": input}
			if previous != "" {
				frame["previous_response_id"] = previous
			}
			text, err := json.Marshal(frame)
			require.NoError(t, err)
			require.NoError(t, conn.Write(t.Context(), websocket.MessageText, text))
			for {
				_, event, err := conn.Read(t.Context())
				require.NoError(t, err)
				e := gjson.ParseBytes(event)
				require.NotEqual(t, "error", e.Get("type").Str, "%v", e)
				if e.Get("type").Str == "response.completed" {
					return e.Get("response")
				}
			}
		}
		conn := dial()
		first := turn(conn, "", said)
		require.Zero(t, first.Get("usage.input_tokens_details.cached_tokens").Int())
		previous, prompt := first.Get("id").Str, first.Get("usage.input_tokens").Int()
		for range 3 {
			next := turn(conn, previous, []any{map[string]any{"role": "user", "content": "go on"}})
			require.GreaterOrEqual(t, next.Get("usage.input_tokens_details.cached_tokens").Int(), prompt*9/10)
			previous, prompt = next.Get("id").Str, next.Get("usage.input_tokens").Int()
		}
		require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
		again := turn(dial(), "", append(said, map[string]any{"role": "user", "content": "I am back"}))
		require.Positive(t, again.Get("usage.input_tokens_details.cached_tokens").Int())
	}
}
