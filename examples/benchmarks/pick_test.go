package benchmarks

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/floor"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

// bound has sessions with the client's own header, which are bound to the same auths in the library
// and in the floor.
type bound struct {
	*gateway
	floor *floor.Table[*account]
	scope floor.Scope
}

func bind(b *testing.B, candidates, sessions int) *bound {
	s := &bound{
		newGateway(b, candidates, sessions),
		floor.New(requests.OwnHeader, nameOf, sessions, ttl),
		floor.Scope{Tenant: tenant, Pool: pool, Model: model},
	}
	r := ownRequest(2 << 10)
	of := map[string]int{}
	for i := range sessions {
		r.begin(requests.SessionID(i))
		auth := s.serve(b, r.Request).name
		of[auth]++
		if err := s.floor.Bind(&s.scope, r.Header, auth); err != nil {
			b.Fatal(err)
		}
	}
	if len(of) != min(candidates, sessions) {
		b.Fatal("the sessions do not use all auths, but only this many: ", of)
	}
	runtime.GC() // so that the first benchmark does not measure the collection
	return s
}

// request is a request that can be changed to one of another session.
type request struct {
	*affinity.Request
	begin func(id string) // makes it the first request of a session, with messages of its own
	set   func(id string) // replaces the id, and nothing else
}

// ownRequest returns a request with the client's own header and a body of a size.
func ownRequest(size int) request { return headerRequest(requests.OwnHeader, "code", size) }

func headerRequest(name, text string, size int) request {
	h, value := requests.WithID(name)
	body := requests.Plain("claude", text, size)
	set := func(id string) { value[0] = id }
	begin := func(id string) {
		set(id)
		body.Set(id)
	}
	return request{&affinity.Request{Tenant: tenant, Pool: pool, Model: model, Header: h, Body: body.Bytes}, begin, set}
}

// endRequest returns a request with the id in a member at the end of its body.
func endRequest(member string, size int) request {
	body := requests.WithEnd(member, size)
	r := &affinity.Request{Tenant: tenant, Pool: pool, Model: model, Header: requests.Header(), Body: body.Bytes}
	return request{r, body.Set, body.SetEnd}
}

// library measures picks of the library. prepare makes request i.
func (s *bound) library(b *testing.B, who string, r *affinity.Request, report bool, prepare func(i int)) {
	b.Run("who="+who, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			prepare(i)
			p, err := s.aff.Pick(ctx, *r, s.auths, none)
			if err != nil {
				b.Fatal(err)
			}
			if report {
				p.Report(affinity.Served)
			}
		}
	})
}

// least measures picks of the floor.
func (s *bound) least(b *testing.B, r *affinity.Request, report bool, prepare func(i int)) {
	b.Run("who=floor", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			prepare(i)
			_, ref, ok := s.floor.Pick(&s.scope, r.Header, s.auths)
			if !ok || report && !s.floor.Report(ref) {
				b.Fatal(errNotBound)
			}
		}
	})
}

// BenchmarkPick measures picks of bound sessions with the client's own header, by the number of
// sessions and their order. For comparison it measures the floor. Each session was reported once
// before. In uniform order few sessions were used lately, so most hits also move the session to the
// front of the order of use; in Zipf's order few hits do. Run it with -cpu 1.
func BenchmarkPick(b *testing.B) {
	const small, large = 2 << 10, 200 << 10
	for _, candidates := range []int{8, 64} {
		for _, sessions := range []int{1, 1e4, 1e5, 1e6} {
			if sessions > *most {
				continue
			}
			s := bind(b, candidates, sessions)
			for _, draw := range []string{"uniform", "zipf"} {
				if draw == "zipf" && (sessions == 1 || candidates != 8) {
					continue
				}
				ids := requests.NewIDs(requests.Order(sessions, draw == "zipf"))
				for _, size := range []int{small, large} {
					if size == large && (sessions != 1e5 || candidates != 8 || draw != "uniform") {
						continue
					}
					for _, report := range []string{"no", "yes"} {
						b.Run(fmt.Sprintf("candidates=%d/sessions=%d/draw=%s/body=%s/report=%s", candidates, sessions, draw, sizeName(size), report), func(b *testing.B) {
							r := ownRequest(size)
							prepare := func(i int) { r.set(ids.At(i)) }
							s.library(b, "llmaffinity", r.Request, report == "yes", prepare)
							s.least(b, r.Request, report == "yes", prepare)
						})
					}
				}
			}
		}
	}
}

// BenchmarkCores is like BenchmarkPick with several goroutines. Each has its own place in the
// order. Run it with -cpu 1,2.
func BenchmarkCores(b *testing.B) {
	for _, sessions := range []int{1, 1e5} {
		if sessions > *most {
			continue
		}
		s := bind(b, 8, sessions)
		ids := requests.NewIDs(requests.Order(sessions, sessions > 1))
		for _, report := range []string{"no", "yes"} {
			b.Run(fmt.Sprintf("sessions=%d/draw=zipf/report=%s/who=llmaffinity", sessions, report), func(b *testing.B) {
				b.ReportAllocs()
				var from atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					r := ownRequest(2 << 10)
					for i := int(from.Add(1 << 18)); pb.Next(); i++ {
						r.set(ids.At(i))
						p, err := s.aff.Pick(ctx, *r.Request, s.auths, none)
						if err != nil {
							b.Error(err)
							return
						}
						if report == "yes" {
							p.Report(affinity.Served)
						}
					}
				})
			})
		}
	}
}
