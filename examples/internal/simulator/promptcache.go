package simulator

import (
	"encoding/json"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// question is a request as far as the provider cares: its prompt as blocks.
type question struct {
	model  string
	stream bool
	usage  bool // chat: send usage at the end of a stream
	blocks []block
}

// block is the smallest unit of a prompt; prefix is the hash of everything up
// to its end.
type block struct {
	prefix uint64
	tokens int
}

// add appends a block: kind keeps a system text from being a user's.
func (q *question) add(kind string, v any) {
	text, err := json.Marshal(canonical(v)) // members sorted: one spelling
	if err != nil {
		return
	}
	var d xxhash.Digest
	d.ResetWithSeed(q.hash())
	d.WriteString(kind)
	d.Write(text)
	q.blocks = append(q.blocks, block{d.Sum64(), (len(text) + 3) / 4})
}

// parts adds a content in any of its shapes: a text, or a list of parts.
func (q *question) parts(kind string, content any) {
	switch c := content.(type) {
	case nil:
	case string:
		q.add(kind, map[string]any{"text": c})
	case []any:
		for _, p := range c {
			q.add(kind, p)
		}
	default:
		q.add(kind, c)
	}
}

// canonical is v without what does not belong to the prompt. The type of a
// text block goes too, so that a string is the same as a single block. Depth
// is bounded by encoding/json, which refuses more than 10,000 levels.
func canonical(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		_, isText := v["text"].(string)
		for k, e := range v {
			if k == "cache_control" || k == "id" && isText || k == "type" && isText {
				continue
			}
			out[k] = canonical(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = canonical(v[i])
		}
		return out
	}
	return v
}

func (q *question) hash() uint64 {
	if len(q.blocks) == 0 {
		return 0
	}
	return q.blocks[len(q.blocks)-1].prefix
}

func (q *question) tokens() (n int) {
	for _, b := range q.blocks {
		n += b.tokens
	}
	return n
}

// promptCache holds the prefixes that one credential was served with. It is
// not safe for concurrent use.
type promptCache struct {
	ttl      time.Duration
	min      int
	prefixes *simplelru.LRU[prefix, time.Time] // when it was used last
}

type prefix struct {
	model string
	hash  uint64
}

func newPromptCache(ttl time.Duration, minTokens, most int) *promptCache {
	lru, err := simplelru.NewLRU[prefix, time.Time](most, nil)
	if err != nil {
		panic(err) // only for a size below one, which New excludes
	}
	return &promptCache{ttl: ttl, min: minTokens, prefixes: lru}
}

// hit is how many tokens of the prompt are cached.
func (c *promptCache) hit(q *question) int {
	cached, n := 0, 0
	for _, b := range q.blocks {
		n += b.tokens
		used, ok := c.prefixes.Peek(prefix{q.model, b.prefix})
		if ok && time.Since(used) < c.ttl && n >= c.min {
			cached = n
		}
	}
	return cached
}

// store keeps every prefix of a prompt that was served, and frees what has
// expired.
func (c *promptCache) store(q *question) {
	now := time.Now()
	for _, b := range q.blocks {
		c.prefixes.Add(prefix{q.model, b.prefix}, now)
	}
	for {
		_, used, ok := c.prefixes.GetOldest()
		if !ok || now.Sub(used) < c.ttl {
			return
		}
		c.prefixes.RemoveOldest()
	}
}
