package affinity_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

type benchAccount struct{ id string }

// BenchmarkPick: a bound session with its id in a header, its Report, and a new
// session, beside a plain round robin in the same run. Run it with -cpu 1,2.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{8, 64} {
		var accounts []*benchAccount
		for i := range n {
			accounts = append(accounts, &benchAccount{fmt.Sprint("account-", i)})
		}
		plain := selector.RoundRobin[*benchAccount]()
		s, err := affinity.Wrap(plain, func(a *benchAccount) string { return a.id }, &affinity.Options[*benchAccount]{Memory: cache.Options{MaxSessions: 1 << 20}})
		require.NoError(b, err)
		defer s.Close()
		request := func(i int) affinity.Request {
			return affinity.Request{Tenant: "tenant", Pool: "anthropic", Model: "claude-opus", Header: http.Header{
				"X-Claude-Code-Session-Id": {fmt.Sprintf("%08d-bb55-446a-bc6c-b288fc65f5b5", i)}, "User-Agent": {"claude-cli/2.1"},
				"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Anthropic-Version": {"2023-06-01"},
			}}
		}
		const sessions = 1024
		var requests []affinity.Request
		for i := range sessions {
			r := request(i)
			p, err := s.Pick(context.Background(), r, accounts)
			require.NoError(b, err)
			p.Report(affinity.Served)
			requests = append(requests, r)
		}
		run := func(name string, do func(i int)) {
			b.Run(fmt.Sprintf("%d-candidates/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						do(i)
					}
				})
			})
		}
		ctx := context.Background()
		run("round-robin", func(int) {
			if _, err := plain.Select(ctx, accounts); err != nil {
				b.Error(err)
			}
		})
		run("bound", func(i int) {
			if _, err := s.Pick(ctx, requests[i%sessions], accounts); err != nil {
				b.Error(err)
			}
		})
		run("bound-and-reported", func(i int) {
			p, err := s.Pick(ctx, requests[i%sessions], accounts)
			if err != nil {
				b.Error(err)
			}
			p.Report(affinity.Served)
		})
		// The cost of a hook for picks and reports.
		require.NoError(b, s.Reconfigure(plain, &affinity.Options[*benchAccount]{
			Memory: cache.Options{MaxSessions: 1 << 20}, OnEvent: func(context.Context, affinity.Event) {},
		}))
		run("bound-and-reported-to-a-hook", func(i int) {
			p, err := s.Pick(ctx, requests[i%sessions], accounts)
			if err != nil {
				b.Error(err)
			}
			p.Report(affinity.Served)
		})
		require.NoError(b, s.Reconfigure(plain, &affinity.Options[*benchAccount]{Memory: cache.Options{MaxSessions: 1 << 20}}))
		// Each request is a new session of its tenant.
		b.Run(fmt.Sprintf("%d-candidates/new", n), func(b *testing.B) {
			b.ReportAllocs()
			tenant, i := "", 0
			for b.Loop() {
				if i%sessions == 0 {
					tenant = fmt.Sprint("tenant-", i/sessions)
				}
				r := requests[i%sessions]
				r.Tenant = tenant
				i++
				if _, err := s.Pick(ctx, r, accounts); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// BenchmarkManyAuths measures picks that have to look at other auths, by the number of auths: a
// new session, and a bound session whose auth may have too much load.
func BenchmarkManyAuths(b *testing.B) {
	for _, n := range []int{8, 64, 1024} {
		auths := make([]string, n)
		for i := range auths {
			auths[i] = fmt.Sprint("account-", i)
		}
		state := func(string, affinity.Request) affinity.State { return affinity.State{Load: 1} }
		for _, c := range []struct {
			name string
			o    affinity.Options[string]
		}{
			{"load", affinity.Options[string]{State: state}},
			{"spill", affinity.Options[string]{State: state, Load: affinity.LoadPolicy{Spill: 1.25}}},
			{"balance", affinity.Options[string]{Balance: affinity.BalanceMoving}},
		} {
			s, err := affinity.Wrap(selector.Random[string](), func(a string) string { return a }, &c.o)
			require.NoError(b, err)
			b.Cleanup(func() { s.Close() })
			bound := affinity.Request{Header: http.Header{"X-Session-Id": {"bound"}}}
			pick := func(b *testing.B, r affinity.Request) {
				p, err := s.Pick(context.Background(), r, auths)
				if err != nil {
					b.Fatal(err)
				}
				p.Report(affinity.Served)
			}
			pick(b, bound)
			b.Run(fmt.Sprintf("%d-candidates/%s/bound", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					pick(b, bound)
				}
			})
			b.Run(fmt.Sprintf("%d-candidates/%s/new", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					pick(b, affinity.Request{Header: http.Header{"X-Session-Id": {strconv.Itoa(i)}}})
				}
			})
		}
	}
}
