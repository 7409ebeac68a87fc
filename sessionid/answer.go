package sessionid

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// Answer holds digests of one answer of an upstream. Two conversations that begin with
// the same words send the same first request. But their answers differ, and the next
// request of each conversation repeats its own answer. The zero Answer is empty. An Answer
// does not change, and any number of goroutines may use it.
type Answer struct {
	reply  content.Reply
	kept   [2]content.Reply // the reply in the shapes of clients that do not join its texts
	states []Key
	owners []Owner
	whole  bool
}

// IsZero reports whether the Answer is empty.
func (a Answer) IsZero() bool {
	return len(a.owners) == 0 && len(a.states) == 0 && a.reply.IsEmpty()
}

// Owners returns state that the auth has after it gave the answer, and that a later request
// can name: the response, a container, a conversation. The slice is part of the Answer:
// read it, do not write to it.
func (a Answer) Owners() []Owner { return a.owners }

// IsWhole reports whether the answer came to its end. If it broke off, the client may
// send the same request again and get another answer.
func (a Answer) IsWhole() bool { return a.whole }

// After returns keys that the next request of the conversation has among its
// Fallbacks, if a is the answer to the request with this ID. Bind them to the request's
// session. keys are at most 7, the surest first. ids are at most 4 keys of ids that the
// answer has given, such as those of tool calls; no other session should have them. Both
// are empty unless the ID comes from content: a session with Names needs no such keys.
func (id *ID) After(a Answer) (keys, ids []Key) {
	if id.n > 0 || (id.history.End() == Key{}) {
		return nil, nil
	}
	said, ids := id.history.After(a.reply)
	first := min(len(said), 1)
	keys = slices.Concat(said[:first], a.states, said[first:])
	for i := range a.kept {
		if !a.kept[i].IsEmpty() {
			said, _ = id.history.After(a.kept[i])
			keys = slices.Insert(keys, first, said[:min(len(said), 1)]...)
		}
	}
	return keys[:min(len(keys), mostKeys)], ids
}

// Passages returns keys of at most 3 runs of lines in a, the answer to the request with
// this ID. There are none unless the ID comes from content and the last message of the
// request speaks of a summary. A client that compacts a conversation may put the answered
// summary inside a text of its own. The function [Passages] finds the keys in that text.
// Bind them to the request's session. If two sessions have the same passage, it must find
// neither. The slice is shared: read it, do not write to it.
func (id *ID) Passages(a Answer) []Key {
	if id.n > 0 {
		return nil
	}
	return id.history.Passages(a.reply)
}

// mostKeys is how many keys After returns.
const mostKeys = 7

// ReadAnswer reads the body of an answer of the chat, Claude, Responses or Gemini API.
// The body is one JSON value, or a stream of server-sent events, which may have broken
// off. ReadAnswer returns the zero Answer for everything else, such as an error or a
// compressed body. To read a stream as it passes, use an [AnswerWriter].
func ReadAnswer(body []byte) Answer {
	var w AnswerWriter
	_, _ = w.Write(body)
	return w.Answer()
}

// StateAnswer returns an Answer that has one thing only: state that the auth now has.
// name and id are those of [OwnerKey]. It returns the zero Answer if id is no id.
func StateAnswer(name, id string) (a Answer) {
	k := OwnerKey(name, id)
	if k == (Key{}) {
		return a
	}
	a.owners, a.whole = []Owner{{name, k}}, true
	for i := range census {
		if r := &census[i]; r.kind == KindOwner && r.name == name && r.replacesHistory() {
			a.states = []Key{k}
		}
	}
	return a
}

// readWhole reads an answer that is one JSON value.
func (w *AnswerWriter) readWhole(body []byte) {
	if !jsontext.Valid(body) {
		return
	}
	v := gjson.ParseBytes(body)
	w.whole = true
	if v.IsArray() { // Gemini's stream without alt=sse
		v.ForEach(func(_, chunk gjson.Result) bool {
			w.event(chunk)
			return true
		})
		return
	}
	switch {
	case v.Get("choices.0.message").IsObject():
		w.items = append(w.items, v.Get("choices.0.message").Raw)
	case v.Get("type").Str == "message" && v.Get("content").IsArray():
		w.claudeMessage(v)
		w.items = append(w.items, `{"role":"assistant","content":`+v.Get("content").Raw+`}`)
	case v.Get("output").IsArray():
		w.response(v)
		v.Get("output").ForEach(func(_, item gjson.Result) bool {
			w.items = append(w.items, item.Raw)
			return true
		})
	default:
		w.event(v)
	}
}

// event takes one event of a stream.
func (w *AnswerWriter) event(v gjson.Result) {
	switch kind := v.Get("type").Str; kind {
	case "message_start":
		w.claudeMessage(v.Get("message"))
	case "content_block_start":
		w.block(int(v.Get("index").Int()), v.Get("content_block"))
	case "content_block_delta":
		w.delta(int(v.Get("index").Int()), v.Get("delta"))
	case "message_delta":
		w.container(v.Get("delta.container.id").Str)
		w.whole = w.whole || v.Get("delta.stop_reason").Str != ""
	case "message_stop":
		w.whole = true
	case "response.output_item.done":
		w.container(v.Get("item.container_id").Str)
		w.grow(len(v.Get("item").Raw))
		w.items = append(w.items, v.Get("item").Raw)
	case "response.created", "response.completed", "response.incomplete":
		w.response(v.Get("response"))
		w.whole = w.whole || kind != "response.created"
	default:
		if choice := v.Get("choices.0"); choice.Exists() {
			w.whole = w.whole || choice.Get("finish_reason").Str != ""
			if delta := choice.Get("delta"); delta.IsObject() {
				w.chatDelta(delta)
				return
			}
		}
		candidate := v.Get("candidates.0")
		if !candidate.Exists() {
			candidate = v.Get("response.candidates.0") // Code Assist
		}
		w.whole = w.whole || candidate.Get("finishReason").Str != ""
		if said := candidate.Get("content"); said.IsObject() {
			w.geminiContent(said)
		} else {
			w.stateItself(v)
		}
	}
}

// stateItself takes an answer that is itself state, such as an interaction.
func (w *AnswerWriter) stateItself(v gjson.Result) {
	if i := v.Get("interaction"); i.IsObject() { // an event of its stream
		w.interaction(i)
		switch v.Get("event_type").Str {
		case "interaction.complete", "interaction.completed":
			w.whole = true
		}
		return
	}
	switch id := v.Get("id").Str; v.Get("object").Str {
	case "conversation":
		w.own("conversation", id)
	case "container":
		w.container(id)
	case "interaction":
		w.interaction(v)
	default:
		if v.Get("outputs").IsArray() {
			w.interaction(v)
		}
		if name := v.Get("name").Str; strings.Contains("/"+name, "/cachedContents/") {
			w.own("cachedContent", name)
		}
	}
}

// interaction takes the id of an interaction of Google's.
func (w *AnswerWriter) interaction(v gjson.Result) {
	id := v.Get("id").Str
	w.state(OwnerKey("previous_interaction_id", id))
	w.own("previous_interaction_id", id)
}

// claudeMessage takes the ids of a message of Claude's API.
func (w *AnswerWriter) claudeMessage(m gjson.Result) {
	if id := m.Get("id").Str; id != "" {
		// Every message has an id, but only threads name it again (beta
		// message-threads-2026-08-12). So it is no owner by itself.
		w.state(OwnerKey("thread.previous_message_id", id))
	}
	w.container(m.Get("container.id").Str)
}

func (w *AnswerWriter) container(id string) { w.own("container", id) }

// response takes the ids of a response of the Responses API.
func (w *AnswerWriter) response(r gjson.Result) {
	if id := r.Get("id").Str; id != "" {
		w.state(OwnerKey("previous_response_id", id))
		if store := r.Get("store"); !store.Exists() || store.Bool() {
			w.own("previous_response_id", id)
		}
	}
	r.Get("output").ForEach(func(_, item gjson.Result) bool {
		w.container(item.Get("container_id").Str) // the provider has run code in it
		return true
	})
	if c := r.Get("conversation"); c.IsObject() {
		w.own("conversation", c.Get("id").Str)
	} else {
		w.own("conversation", c.Str)
	}
}

func (w *AnswerWriter) own(name, id string) {
	k := OwnerKey(name, id)
	if k == (Key{}) || len(w.owners) == maxOwners || slices.ContainsFunc(w.owners, func(o Owner) bool { return o.Key == k }) {
		return
	}
	w.owners = append(w.owners, Owner{name, k})
}

// state takes the key of state that stands for this answer and all messages before it.
func (w *AnswerWriter) state(k Key) {
	if k != (Key{}) && len(w.states) < maxOwners && !slices.Contains(w.states, k) {
		w.states = append(w.states, k)
	}
}
