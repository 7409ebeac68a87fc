package requests

import "net/http"

// Client is a kind of client. Kinds differ in how their requests name their conversation.
type Client struct {
	Name string
	// Says describes how the requests name their conversation.
	Says   string
	format string
	window int // the most messages that a request has; 0: all of the conversation
	back   string
	header func(h http.Header, id string)
}

// Clients has kinds of clients. The form of their requests comes from captured requests, or from
// the documentation of their makers, see package sessionid. The texts are made up.
var Clients = []Client{
	{Name: "claude-code", Says: "X-Claude-Code-Session-Id and metadata.user_id", format: "claude", back: ends["metadata.user_id"], header: sets(OwnHeader)},
	{Name: "claude-code-proxied", Says: "metadata.user_id; its headers were dropped on the way", format: "claude", back: ends["metadata.user_id"]},
	{Name: "codex", Says: "Session-Id and client_metadata", format: "responses", back: ends["client_metadata"], header: sets("Session-Id")},
	{Name: "opencode", Says: "X-Session-Id", format: "chat", header: sets(GenericHeader)},
	{Name: "kimi", Says: "prompt_cache_key", format: "chat", back: `,"prompt_cache_key":"` + hole + `"`},
	{Name: "gemini-cli", Says: "nothing but the messages", format: "gemini"},
	{Name: "sdk", Says: "nothing but the messages", format: "chat"},
	{Name: "sdk-window", Says: "nothing but the last 6 messages", format: "chat", window: 6},
	{Name: "sdk-bucket", Says: "one prompt_cache_key for all conversations", format: "chat", back: `,"prompt_cache_key":"support-bot"`},
	{Name: "sdk-placeholder", Says: "X-Session-Id: default", format: "chat", header: func(h http.Header, _ string) { h.Set(GenericHeader, "default") }},
}

func sets(name string) func(http.Header, string) {
	return func(h http.Header, id string) { h.Set(name, id) }
}

// Turns returns a function that makes the requests of a client's conversations, each by the number
// of its conversation and of its turn. A body is valid until the next call.
func (c *Client) Turns(turns, size int) func(conversation, turn int) (http.Header, []byte) {
	bodies := conversation(c.format, turns, size, c.window, c.back)
	return func(conversation, turn int) (http.Header, []byte) {
		id, h := SessionID(conversation), Header()
		if c.header != nil {
			c.header(h, id)
		}
		bodies[turn].Set(id)
		return h, bodies[turn].Bytes
	}
}
