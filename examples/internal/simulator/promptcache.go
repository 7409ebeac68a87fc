package simulator

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// promptCache holds the prefixes of the prompts that one credential was served with. It is not
// safe for concurrent use.
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

// hit returns how many tokens of the prompt are cached. The tokens of an explicit cache always
// are.
func (c *promptCache) hit(q *question) int {
	cached, n := tokensOf(q.pinned...), 0
	for _, b := range q.prompt() {
		n += b.tokens
		used, ok := c.prefixes.Peek(prefix{q.model, b.prefix})
		if ok && time.Since(used) < c.ttl && n >= c.min {
			cached = max(cached, n)
		}
	}
	return cached
}

// writes returns how many tokens a prompt adds of which so many are cached.
func (c *promptCache) writes(q *question, cached int) int {
	if q.tokens() < c.min {
		return 0
	}
	return q.tokens() - cached
}

// store keeps every prefix of a prompt that was served, and frees what has
// expired.
func (c *promptCache) store(q *question) {
	now := time.Now()
	for _, b := range q.prompt() {
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
