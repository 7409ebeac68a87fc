package benchmarks

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

// BenchmarkPlace measures picks of bound sessions, by the place of the id. For comparison it
// measures them with the client's own header and a body of 2 KB. It has 100,000 sessions in uniform
// order. Each request has the same body with another id in it, so the body is in the CPU's cache,
// like one that a gateway has just read.
func BenchmarkPlace(b *testing.B) {
	sessions := min(100_000, *most)
	ids := requests.NewIDs(requests.Order(sessions, false))
	own := bind(b, 8, sessions)
	// with binds the sessions with requests that have the id in the same place.
	with := func(r request) *bound {
		s := &bound{gateway: newGateway(b, 8, sessions)}
		for i := range sessions {
			r.begin(requests.SessionID(i))
			s.serve(b, r.Request)
		}
		runtime.GC()
		return s
	}
	byHeader := ownRequest(2 << 10)
	run := func(s *bound, name string, r request) {
		b.Run(name, func(b *testing.B) {
			s.library(b, "llmaffinity", r.Request, false, func(i int) { r.set(ids.At(i)) })
			own.library(b, "own-header", byHeader.Request, false, func(i int) { byHeader.set(ids.At(i)) })
		})
	}
	generic := with(headerRequest(requests.GenericHeader, "code", 2<<10))
	for _, text := range requests.Texts {
		for _, size := range []int{2 << 10, 200 << 10, 4 << 20} {
			if text == "code" || size == 200<<10 {
				run(generic, fmt.Sprintf("id=generic/text=%s/body=%s", text, sizeName(size)), headerRequest(requests.GenericHeader, text, size))
			}
		}
	}
	// The library must walk over a long text behind the last list.
	long := headerRequest(requests.GenericHeader, "code", 180<<10)
	long.Body = append(long.Body[:len(long.Body)-1], `,"system":"`+strings.Repeat("word ", 4<<10)+`"}`...)
	run(generic, "id=generic/text=system-at-the-end/body=200KB", long)
	for _, member := range []string{"metadata.user_id", "prompt_cache_key", "client_metadata"} {
		s := with(endRequest(member, 2<<10))
		for _, size := range []int{2 << 10, 80 << 10, 200 << 10, 4 << 20} {
			run(s, fmt.Sprintf("id=%s/text=code/body=%s", member, sizeName(size)), endRequest(member, size))
		}
	}
}
