package proving

import (
	"fmt"
	"io"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// BenchmarkWhileItIsSaved measures Get and Bind in a store of a million sessions, half of them with
// a name and half with the ends of conversations. In each iteration it measures first without and
// then with a Save that runs. It reports the medians of all iterations: the 99th percentiles, and
// their ratio. It also reports how long a Save takes, and how large the snapshot is. Run it with
// -benchtime 5x.
func BenchmarkWhileItIsSaved(b *testing.B) {
	const sessions, ops = 1_000_000, 200_000
	m, err := cache.New(&cache.Options{MaxSessions: sessions + sessions/4})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	request := func(i int) (k cache.Keys) {
		if i%2 == 0 {
			k.Names[0] = keyOf(i)
			return k
		}
		k.End = keyOf(i)
		for n := range 4 {
			k.Fallbacks = append(k.Fallbacks, keyOf(i+(n+1)*sessions*2))
		}
		return k
	}
	for i := range sessions {
		bound, _, err := m.Bind(ctx, scope, request(i), auth(i))
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := m.Confirm(ctx, bound); err != nil {
			b.Fatal(err)
		}
	}
	rng := rand.New(rand.NewSource(1))
	took := make([]time.Duration, ops)
	p99 := func() float64 {
		for i := range took {
			k := request(rng.Intn(sessions))
			began := time.Now()
			if i%2 == 0 {
				_, _, _ = m.Get(ctx, scope, k)
			} else {
				_, _, _ = m.Bind(ctx, scope, k, "another")
			}
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		return float64(took[ops/100*99])
	}
	var ratios, still, busy, saves []float64
	size := &counter{}
	for b.Loop() {
		alone := p99()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
				}
				*size = counter{}
				began := time.Now()
				if err := m.Save(size); err != nil {
					panic(err)
				}
				saves = append(saves, float64(time.Since(began)))
			}
		}()
		while := p99()
		close(stop)
		<-stopped
		still, busy, ratios = append(still, alone), append(busy, while), append(ratios, while/alone)
	}
	for what, all := range map[string][]float64{"p99-ns": still, "p99-saving-ns": busy, "p99-ratio": ratios} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], what)
	}
	slices.Sort(saves)
	b.ReportMetric(saves[len(saves)/2]/1e6, "save-ms")
	b.ReportMetric(float64(size.n)/sessions, "B/session")
	b.ReportMetric(0, "ns/op")
}

// counter counts the bytes of a snapshot.
type counter struct{ n int }

func (c *counter) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }

// BenchmarkLoad measures the loading of a snapshot of a million sessions with one name each. The
// snapshot is written at the same time.
func BenchmarkLoad(b *testing.B) {
	const sessions = 1_000_000
	o := &cache.Options{MaxSessions: sessions}
	m, err := cache.New(o)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	for i := range sessions {
		if _, _, err := m.Bind(ctx, scope, cache.Keys{Names: [cache.MaxNames]cache.Key{keyOf(i)}}, auth(i)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(m.Save(w)) }()
		loaded, err := cache.Load(r, o)
		if err != nil || loaded.Len() != sessions {
			b.Fatal(fmt.Sprint(loaded.Len(), err))
		}
		_ = loaded.Close()
	}
}
