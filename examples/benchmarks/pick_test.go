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

// bound are sessions that are bound with the client's own header, in the library and in the
// floor, to the same auths.
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
		b.Fatal("the sessions are not spread over all auths: ", of)
	}
	runtime.GC() // so that the first benchmark does not pay for it
	return s
}

// request is a request that can be made that of another session.
type request struct {
	*affinity.Request
	begin func(id string) // with messages of its own, as a session begins
	set   func(id string) // with another id in its place, and nothing else
}

// ownRequest has the client's own header, and a body of some size.
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

// endRequest has the id in a member at the end of its body.
func endRequest(member string, size int) request {
	body := requests.WithEnd(member, size)
	r := &affinity.Request{Tenant: tenant, Pool: pool, Model: model, Header: requests.Header(), Body: body.Bytes}
	return request{r, body.Set, body.SetEnd}
}

// library measures picks of this library. prepare makes the request number i.
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

// BenchmarkPick: a bound session with the client's own header, beside the floor, by how many
// sessions are alive and whose turn it is. Every session was reported once before. In
// uniform order hardly a session was used lately, so most hits also move it to the front of
// the order of use; in Zipf's order few do. Run it with -cpu 1.
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

// BenchmarkCores: the same from several goroutines, each of which has its own place in the
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
