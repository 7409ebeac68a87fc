package benchmarks

import (
	"fmt"
	"testing"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/identity"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// BenchmarkIdentity measures how the id of a session is read out of a body, without a header. The
// others look at four places, and find nothing if none of these has an id. The library looks at all
// places that it knows, and then at the content.
func BenchmarkIdentity(b *testing.B) {
	for _, member := range []string{"metadata.user_id", "client_metadata", "prompt_cache_key", "none"} {
		for _, size := range []int{2 << 10, 200 << 10, 4 << 20} {
			body := requests.Plain("claude", "code", size)
			if member != "none" {
				body = requests.WithEnd(member, size)
			}
			body.Set(requests.SessionID(1))
			b.Run(fmt.Sprintf("id=%s/body=%s", member, sizeName(size)), func(b *testing.B) {
				b.Run("who=llmaffinity", func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if id := sessionid.Extract(nil, body.Bytes); id.IsZero() {
							b.Fatal("Extract has found no session")
						}
					}
				})
				for _, r := range identity.All {
					b.Run("who="+r.Name, func(b *testing.B) {
						b.ReportAllocs()
						for b.Loop() {
							if id := r.Read(body.Bytes); (id == "") != (member == "none") {
								b.Fatal("the reader has missed the body's id, or has found one in a body without: ", id)
							}
						}
					})
				}
			})
		}
	}
}
