package sessionid_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// The number of allocations is as documented, and does not depend on the number of messages. A
// value that escapes to the heap inside a loop would cost one for each message.
func TestExtractAllocatesAsDocumented(t *testing.T) {
	claude := `,"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"` + uuidA + `\"}"}`
	for _, size := range []int{2 << 10, 80 << 10} {
		for _, format := range benchFormats {
			for name, c := range map[string]struct {
				header []string
				end    string
				allocs float64
			}{
				"native header":  {[]string{"X-Claude-Code-Session-Id", uuidA}, "", 0},
				"generic header": {[]string{"X-Session-Id", uuidA}, "", 0},
				"claude":         {nil, claude, 0},
				"codex":          {nil, codexEnd, 0},
				"cache key":      {nil, `,"prompt_cache_key":"` + uuidA + `"`, 0},
				"content":        {nil, "", 1},
			} {
				header, body := headers(c.header...), benchBody(format, size, "", c.end)
				got := testing.AllocsPerRun(20, func() { sink = sessionid.Extract(header, body) })
				require.Equal(t, c.allocs, got, "%s, %s, %d bytes", name, format, size)
			}
		}
	}
	body := smallMessages(80 << 10)
	require.Equal(t, 1.0, testing.AllocsPerRun(20, func() { sink = sessionid.Extract(nil, body) }), "many small messages")
}
