package benchmarks

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// BenchmarkContent measures the identity of a request without an id, by its content. For comparison
// it measures xxhash of the same bytes.
func BenchmarkContent(b *testing.B) {
	for _, format := range append(requests.Formats, "airline") {
		for _, size := range []int{2 << 10, 80 << 10, 400 << 10, 4 << 20} {
			if format == "airline" {
				if size >= 80<<10 { // less is not possible: the system prompt alone has 6 KB
					ofContent(b, format, "short", requests.Airline(size), size)
				}
				continue
			}
			for _, text := range requests.Texts[:3] {
				if text == "code" || size == 400<<10 {
					ofContent(b, format, text, requests.Plain(format, text, size).Bytes, size)
				}
			}
		}
	}
}

func ofContent(b *testing.B, format, text string, body []byte, size int) {
	b.Run(fmt.Sprintf("format=%s/text=%s/body=%s", format, text, sizeName(size)), func(b *testing.B) {
		b.Run("who=llmaffinity", func(b *testing.B) {
			header := requests.Header()
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if id := sessionid.Extract(header, body); id.IsZero() {
					b.Fatal("Extract has found no session")
				}
			}
		})
		b.Run("who=xxhash", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				xxhash.Sum64(body)
			}
		})
	})
}

// BenchmarkConversation measures a pick and its report for conversations without an id, in a store
// that is full of conversations. With turn=next it has the turns of conversations in their order,
// from the first one to a body of the size. With turn=again it repeats a request. With turn=new
// each request begins another conversation. For comparison it measures xxhash of the same bytes.
func BenchmarkConversation(b *testing.B) {
	const turns = 20
	for _, size := range []int{20 << 10, 200 << 10} {
		for _, c := range []struct {
			name  string
			first int // the first turn that is sent
			fresh bool
		}{{"next", 0, true}, {"again", turns - 1, false}, {"new", turns - 1, true}} {
			bodies := requests.Conversation("chat", turns, size)[c.first:]
			r := &affinity.Request{Tenant: tenant, Pool: pool, Model: model, Header: requests.Header()}
			// request makes request i. The conversations come one after the other.
			request := func(i int) {
				body := bodies[i%len(bodies)]
				if c.fresh {
					body.Set(requests.SessionID(i / len(bodies)))
				}
				r.Body = body.Bytes
			}
			b.Run(fmt.Sprintf("turn=%s/body=%s/who=llmaffinity", c.name, sizeName(size)), func(b *testing.B) {
				const sessions = 10_000
				g := newGateway(b, 8, sessions)
				small := requests.Conversation("chat", 1, 2<<10)[0]
				for i := range sessions * 3 / 2 {
					small.Set(requests.SessionID(-i))
					g.serve(b, &affinity.Request{Tenant: tenant, Pool: pool, Model: model, Body: small.Bytes})
				}
				request(0)
				g.serve(b, r)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					request(i)
					g.serve(b, r)
					i++
				}
			})
			b.Run(fmt.Sprintf("turn=%s/body=%s/who=xxhash", c.name, sizeName(size)), func(b *testing.B) {
				i := 0
				for b.Loop() {
					request(i)
					xxhash.Sum64(r.Body)
					i++
				}
			})
		}
	}
}
