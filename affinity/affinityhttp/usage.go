package affinityhttp

import (
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// places are the members in which answers and events of streams say what they have cost.
var places = [...]string{"usage", "message.usage", "response.usage", "interaction.usage", "usageMetadata", "response.usageMetadata"}

// usage is what an answer has cost, as far as it has said.
type usage struct{ affinity.Usage }

// take reads an answer or an event. Later events of a stream replace what earlier ones have
// said.
func (u *usage) take(v gjson.Result) {
	for _, place := range places {
		switch at := v.Get(place); {
		case at.IsObject():
			u.add(at)
			return
		case at.Exists(): // null, in each event of the chat API but the last
			return
		}
	}
}

func (u *usage) add(v gjson.Result) {
	n := func(names ...string) (n int, ok bool) {
		for _, name := range names {
			if at := v.Get(name); at.Type == gjson.Number {
				return int(min(max(at.Int(), 0), 1<<30)), true
			}
		}
		return 0, false
	}
	if at, ok := n("prompt_tokens", "promptTokenCount", "total_input_tokens"); ok { // chat, Gemini, interactions
		tools, _ := n("toolUsePromptTokenCount", "total_tool_use_tokens")
		u.Prompt = at + tools
	} else if at, ok := n("input_tokens"); ok {
		u.Prompt = at // responses
		if details, total := v.Get("input_tokens_details"), v.Get("total_tokens"); !details.Exists() && !total.Exists() {
			// Anthropic's input_tokens do not include those of the prompt cache.
			read, known := n("cache_read_input_tokens")
			written, _ := n("cache_creation_input_tokens")
			if !known { // the last event of a stream may omit what the first one has said
				read, written = u.Cached, u.CacheWritten
			}
			u.Prompt += read + written
		}
	}
	if at, ok := n("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "cache_read_input_tokens",
		"cachedContentTokenCount", "total_cached_tokens", "prompt_cache_hit_tokens"); ok {
		u.Cached = at
	}
	if at, ok := n("cache_creation_input_tokens", "prompt_tokens_details.cache_write_tokens"); ok {
		u.CacheWritten = at
	}
	if at, ok := n("output_tokens", "completion_tokens"); ok {
		u.Output = at
	} else if at, ok := n("candidatesTokenCount", "total_output_tokens"); ok {
		thought, _ := n("thoughtsTokenCount", "total_thought_tokens")
		u.Output = at + thought
	}
	u.Cached = min(u.Cached, u.Prompt)
}
