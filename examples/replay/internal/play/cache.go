package play

import (
	"time"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

// promptCache is a provider's prompt cache: it holds the blocks of prompts for ttl after their
// last use, and has room for all of them.
type promptCache struct {
	until []int64 // by block, in nanoseconds of the clock
	ttl   time.Duration
}

func newPromptCache(blocks int, ttl time.Duration) promptCache {
	return promptCache{make([]int64, blocks), ttl}
}

// send returns how many tokens of a prompt are cached, which are those of its leading blocks
// that are held. Then it puts the whole prompt into the cache.
func (c promptCache) send(r *trace.Request, now int64) (hit int) {
	leading := true
	for i, block := range r.Blocks {
		if leading = leading && c.until[block] >= now; leading {
			hit += min(trace.BlockTokens, r.Input-i*trace.BlockTokens)
		}
		c.until[block] = now + int64(c.ttl)
	}
	return hit
}
