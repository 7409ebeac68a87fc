package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// simulatedSockets adds the Responses API over WebSockets to the simulated provider. Like the
// real one without stored responses, a connection holds the last response of each stream, and
// no other connection has it.
func simulatedSockets(simulated http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/responses" || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			simulated.ServeHTTP(w, r)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(64 << 20)
		c := &providerConn{simulated: simulated, r: r, conn: conn, held: map[any]held{}}
		for {
			_, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			var frame map[string]any
			if json.Unmarshal(message, &frame) == nil && frame["type"] == "response.create" {
				c.create(frame)
			}
		}
	})
}

// providerConn is a connection to the simulated provider.
type providerConn struct {
	simulated http.Handler
	r         *http.Request // the handshake
	conn      *websocket.Conn
	held      map[any]held // by stream_id
}

// held is a response that can be continued.
type held struct {
	id    any
	items []any // the items of the conversation, with those of the response
}

// create answers a turn as the simulator answers the same turn over HTTP.
func (c *providerConn) create(frame map[string]any) {
	stream := frame["stream_id"]
	items, _ := frame["input"].([]any)
	if text, ok := frame["input"].(string); ok {
		items = []any{map[string]any{"role": "user", "content": text}}
	}
	if before := frame["previous_response_id"]; before != nil {
		h := c.held[stream]
		if delete(c.held, stream); h.id != before {
			c.send(stream, map[string]any{"type": "error", "status": 400, "error": map[string]any{
				"type": "invalid_request_error", "code": "previous_response_not_found", "param": "previous_response_id", "message": "Previous response not found.",
			}})
			return
		}
		items = slices.Concat(h.items, items)
	}
	warm := frame["generate"] == false
	for _, name := range [...]string{"type", "stream_id", "previous_response_id", "generate"} {
		delete(frame, name)
	}
	frame["input"], frame["stream"], frame["store"] = items, true, false
	body, err := json.Marshal(frame)
	if err != nil {
		panic(err) // it was JSON
	}
	post := c.r.Clone(c.r.Context())
	post.Method, post.Body, post.ContentLength = http.MethodPost, http.NoBody, int64(len(body))
	post.Body = readCloser{bytes.NewReader(body)}
	post.Header.Set("Content-Type", "application/json")
	answer := &recorded{header: http.Header{}, status: http.StatusOK}
	c.simulated.ServeHTTP(answer, post)
	if answer.status != http.StatusOK {
		var refused map[string]any
		_ = json.Unmarshal(answer.body.Bytes(), &refused) // the simulator writes JSON
		c.send(stream, map[string]any{"type": "error", "status": answer.status, "error": refused["error"], "headers": map[string]any{"retry-after": answer.header.Get("Retry-After")}})
		return
	}
	for line := range strings.Lines(answer.body.String()) {
		data, ok := strings.CutPrefix(line, "data: ")
		var event map[string]any
		if !ok || json.Unmarshal([]byte(data), &event) != nil {
			continue
		}
		response, _ := event["response"].(map[string]any)
		if event["type"] == "response.completed" {
			output, _ := response["output"].([]any)
			if warm { // the prompt was read, and there is no answer
				output = []any{}
				response["output"] = output
			}
			c.held[stream] = held{response["id"], slices.Concat(items, output)}
		} else if warm && event["type"] != "response.created" {
			continue
		}
		c.send(stream, event)
	}
}

func (c *providerConn) send(stream any, event map[string]any) {
	if stream != nil {
		event["stream_id"] = stream
	}
	text, err := json.Marshal(event)
	if err != nil {
		panic(err) // it was JSON
	}
	_ = c.conn.Write(c.r.Context(), websocket.MessageText, text) // reading ends if the client has left
}

// recorded is an answer of the simulator.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorded) Flush()                      {}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
