package selector_test

import (
	"strconv"
	"testing"

	"github.com/llmaffinity/llmaffinity/selector"
)

// Each strategy at a few, some and many candidates, with a model and a key in the context.
func BenchmarkSelect(b *testing.B) {
	var loads selector.Loads
	for name, s := range withTiers(strategies(&loads)) {
		b.Run(name, func(b *testing.B) {
			for _, n := range []int{8, 64, 1024} {
				b.Run(strconv.Itoa(n), func(b *testing.B) {
					list := auths(n)
					for i, a := range list {
						a.load, a.tier = float64(i), i%2
						loads.Add(a.name, float64(1000+i), 0)
					}
					ctx := selector.WithHint(b.Context(), selector.Hint{Key: 7, HasKey: true, Pool: "pool", Model: "model"})
					b.ReportAllocs()
					for b.Loop() {
						if _, err := s.Select(ctx, list); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// A client that makes up models: each request has another one.
func BenchmarkFloodOfModels(b *testing.B) {
	s := selector.RoundRobin[*auth]()
	list := auths(8)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if _, err := s.Select(forModel(strconv.Itoa(i)), list); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoads(b *testing.B) {
	var l selector.Loads
	b.Run("Begin and End", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Begin("auth", 100, 7)
			l.End("auth")
		}
	})
	b.Run("Of", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Of("auth")
		}
	})
}

func withTiers(all map[string]selector.Selector[*auth]) map[string]selector.Selector[*auth] {
	all["Tiers"] = selector.Tiers(func(a *auth) int { return a.tier }, selector.RoundRobin[*auth]())
	all["Filter"] = selector.Filter(always, selector.Random[*auth]())
	return all
}
