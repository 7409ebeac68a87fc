package play

import (
	"math"
	"slices"
	"time"
)

// window is the length of time over which Result.Minute is measured.
const window = time.Minute

// Result is what a policy has achieved in one history.
type Result struct {
	History uint64
	// Requests counts the requests that an auth has served, and Refused those for which there
	// was none.
	Requests, Refused int
	// Quality is the cached tokens as a share of those that one cache for all auths has.
	Quality float64
	// Imbalance is the tokens of the most loaded auth, in multiples of its fair share, over
	// the whole history. Minute is the median of the same in windows of 60 seconds.
	Imbalance, Minute float64
	// Uncached is the uncached tokens, in multiples of those that one cache for all has.
	Uncached float64
	// Price is what the prompts cost.
	Price float64
	// Switches is how often a request of a session was at another auth than the one before.
	Switches int
	// Nanos is the cost of a decision with its report; 0 if that cannot be measured.
	Nanos float64
	// Load is how many prompt tokens each auth was sent in each window.
	Load [][]float64
}

// measure counts for a policy.
type measure struct {
	load, fair   []float64   // by auth, over the whole history
	windows      [][]float64 // by window and auth
	fairly       [][]float64 // the same, if all available auths had the same share
	tokens, hit  float64
	oracle       float64
	price        Prices
	last         []int // by session: the auth of the last request, or -1
	requests     int
	refused      int
	switches     int
	nanos, timed int64
}

func newMeasure(auths, sessions int, p Prices) *measure {
	m := &measure{load: make([]float64, auths), fair: make([]float64, auths), price: p, last: make([]int, sessions)}
	for i := range m.last {
		m.last[i] = -1
	}
	return m
}

// add counts a prompt that was sent to an auth at a time since the begin.
func (m *measure) add(at time.Duration, auth, session, tokens, hit, oracle int, available []int) {
	w := int(at / window)
	for len(m.windows) <= w {
		m.windows = append(m.windows, make([]float64, len(m.load)))
		m.fairly = append(m.fairly, make([]float64, len(m.load)))
	}
	n := float64(tokens)
	m.load[auth] += n
	m.windows[w][auth] += n
	share := n / float64(len(available))
	for _, a := range available {
		m.fair[a] += share
		m.fairly[w][a] += share
	}
	m.requests++
	m.tokens += n
	m.hit += float64(hit)
	m.oracle += float64(oracle)
	if before := m.last[session]; before >= 0 && before != auth {
		m.switches++
	}
	m.last[session] = auth
}

func (m *measure) result(history uint64) Result {
	r := Result{
		History: history, Requests: m.requests, Refused: m.refused,
		Quality:   ratio(m.hit, m.oracle),
		Uncached:  ratio(m.tokens-m.hit, m.tokens-m.oracle),
		Imbalance: most(m.load, m.fair),
		Price:     m.price.of(m.tokens, m.hit),
		Switches:  m.switches,
		Load:      m.windows,
	}
	var minutes []float64
	for i, w := range m.windows {
		if v := most(w, m.fairly[i]); v > 0 {
			minutes = append(minutes, v)
		}
	}
	r.Minute = Median(minutes)
	if m.timed > 0 {
		r.Nanos = float64(m.nanos) / float64(m.timed)
	}
	return r
}

// ratio returns a/b, and 1 if both are 0.
func ratio(a, b float64) float64 {
	if b == 0 && a == 0 {
		return 1
	}
	return a / b
}

// most returns the load of the most loaded auth in multiples of its fair share, 0 without
// load. If all auths are there all the time, the fair share is the mean.
func most(load, fair []float64) (v float64) {
	var all float64
	for _, f := range fair {
		all += f
	}
	for i, l := range load {
		switch {
		case fair[i] > 0:
			v = max(v, l/fair[i])
		case l > 0:
			v = max(v, l/(all/float64(len(fair)))) // it had no share, and was sent a prompt
		}
	}
	return v
}

// Prices are what a million tokens of a prompt cost.
type Prices struct {
	Uncached, Cached float64
}

func (p Prices) of(tokens, hit float64) float64 {
	return ((tokens-hit)*p.Uncached + hit*p.Cached) / 1e6
}

// Median returns the median, NaN if there are no values.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
