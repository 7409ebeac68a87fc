package simulator

import (
	"encoding/json"

	"github.com/cespare/xxhash/v2"
)

// question is the part of a request that the provider uses. Its prompt is what the provider
// has kept of the conversation, and then what the request says.
type question struct {
	model  string
	stream bool
	usage  bool   // chat: send usage at the end of a stream
	head   []part // tools and system
	before []part // what the provider has kept
	said   []part // what the request says
	pinned []part // the beginning that an explicit cache holds
	tool   string // the first tool that is offered
	asked  bool   // the last message is the user's, not a tool's
	input  list   // Responses: what a conversation keeps of the request
	names  names

	blocks []block // of the whole prompt, made when they are needed
}

// part is the smallest unit of a prompt. kind keeps a system text from being a user's.
type part struct{ kind, text string }

// block is a part as the cache sees it; prefix is the hash of everything up to its end.
type block struct {
	prefix uint64
	tokens int
}

// partsOf reads a content in any of its shapes: a text, or a list of parts.
func partsOf(kind string, content any) (out []part) {
	switch c := content.(type) {
	case nil:
	case string:
		out = append(out, partOf(kind, object{"text": c})...)
	case list:
		for _, p := range c {
			out = append(out, partOf(kind, p)...)
		}
	default:
		out = partOf(kind, c)
	}
	return out
}

func partOf(kind string, v any) []part {
	text, err := json.Marshal(canonical(v)) // members sorted: one spelling
	if err != nil {
		return nil
	}
	return []part{{kind, string(text)}}
}

// canonical returns v without what is not part of the prompt. It also removes the type of a
// text block, so that a string equals a single block. encoding/json bounds the depth: it
// refuses more than 10,000 levels.
func canonical(v any) any {
	switch v := v.(type) {
	case object:
		out := make(object, len(v))
		_, isText := v["text"].(string)
		for k, e := range v {
			if k == "cache_control" || isText && (k == "id" || k == "type" || k == "annotations") {
				continue
			}
			out[k] = canonical(e)
		}
		return out
	case list:
		out := make(list, len(v))
		for i := range v {
			out[i] = canonical(v[i])
		}
		return out
	}
	return v
}

// prompt returns the whole prompt.
func (q *question) prompt() []block {
	if q.blocks != nil {
		return q.blocks
	}
	var last uint64
	for _, parts := range [][]part{q.pinned, q.head, q.before, q.said} {
		for _, p := range parts {
			var d xxhash.Digest
			d.ResetWithSeed(last)
			d.WriteString(p.kind)
			d.WriteString(p.text)
			last = d.Sum64()
			q.blocks = append(q.blocks, block{last, tokensOf(p)})
		}
	}
	return q.blocks
}

func tokensOf(parts ...part) (n int) {
	for _, p := range parts {
		n += (len(p.text) + 3) / 4
	}
	return n
}

func (q *question) hash() uint64 {
	if b := q.prompt(); len(b) > 0 {
		return b[len(b)-1].prefix
	}
	return 0
}

func (q *question) tokens() (n int) {
	for _, b := range q.prompt() {
		n += b.tokens
	}
	return n
}
