package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Shape is a made-up trace that is hard for one kind of policy.
type Shape struct {
	Name, About string
	make        func(auths int) *Trace
}

// Make makes the trace for the given number of auths. It makes the same one each time.
func (s Shape) Make(auths int) *Trace { return s.make(auths) }

// Shapes are all made-up traces.
func Shapes() []Shape {
	return []Shape{
		{"one", "one session of 300 requests", one},
		{"huge", "8 sessions with prompts of 300,000 tokens and more", huge},
		{"single", "10,000 requests, each a session of its own, behind one system prompt", single},
		{"burst", "1,000 sessions that begin with the same words within two seconds, and then go on", burst},
		{"documents", "100 documents with 20 questions each, each question a session of its own", documents},
		{"wake", "100 sessions that sleep for 20 minutes and wake within the same minute", wake},
		{"changes", "an auth is added after 20 minutes, one is drained after 30, one is away from 40 to 50; sessions come all the time", changes},
	}
}

// maker makes requests with blocks.
type maker struct {
	rng      *rand.Rand
	lines    []blockRequest
	blocks   int64
	sessions int
}

func newMaker(seed uint64) *maker { return &maker{rng: rand.New(rand.NewPCG(seed, 0x73686170))} }

// fresh returns n blocks that no prompt has had.
func (m *maker) fresh(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = m.blocks
		m.blocks++
	}
	return out
}

// spread returns a random number around median: two thirds are within a factor of exp(sigma).
func (m *maker) spread(median, sigma float64) float64 {
	return median * math.Exp(sigma*m.rng.NormFloat64())
}

// between returns a random time in [from, to).
func (m *maker) between(from, to time.Duration) time.Duration {
	return from + time.Duration(m.rng.Float64()*float64(to-from))
}

// talk is a session under way.
type talk struct {
	m       *maker
	session int
	full    []int64 // the full blocks of the prompt
	tokens  int
}

// begin begins a session with an opening that others may share.
func (m *maker) begin(opening []int64) *talk {
	t := &talk{m: m, session: m.sessions, full: slices.Clone(opening), tokens: len(opening) * BlockTokens}
	m.sessions++
	return t
}

// grow makes the prompt longer.
func (t *talk) grow(tokens int) {
	t.tokens += max(tokens, 1)
	t.full = append(t.full, t.m.fresh(t.tokens/BlockTokens-len(t.full))...)
}

// ask sends the prompt. If its last block is not full, that block gets a number of its own.
func (t *talk) ask(at time.Duration, output int) {
	blocks := slices.Clone(t.full)
	if t.tokens%BlockTokens > 0 {
		blocks = append(blocks, t.m.fresh(1)...)
	}
	session := t.session
	t.m.lines = append(t.m.lines, blockRequest{
		Session: &session, Millis: float64(at.Milliseconds()), Input: t.tokens, Output: max(output, 1), Blocks: blocks,
	})
}

func (m *maker) trace(name string) *Trace { return ofBlocks(name, m.lines) }

func one(int) *Trace {
	m := newMaker(1)
	t := m.begin(nil)
	t.grow(20_000)
	var at time.Duration
	for range 300 {
		t.ask(at, 200)
		t.grow(int(m.spread(400, 0.8)))
		at += m.between(4*time.Second, 20*time.Second)
	}
	return m.trace("one")
}

func huge(int) *Trace {
	m := newMaker(2)
	system := m.fresh(20)
	for range 8 {
		t := m.begin(system)
		t.grow(300_000)
		at := m.between(0, 30*time.Second)
		for range 60 {
			t.ask(at, 300)
			t.grow(int(m.spread(800, 0.8)))
			at += m.between(10*time.Second, 40*time.Second)
		}
	}
	return m.trace("huge")
}

func single(int) *Trace {
	m := newMaker(3)
	system := m.fresh(4)
	for range 10_000 {
		t := m.begin(system)
		t.grow(int(min(m.spread(2000, 1), 60_000)))
		t.ask(m.between(0, time.Hour), int(m.spread(200, 0.7)))
	}
	return m.trace("single")
}

func burst(int) *Trace {
	m := newMaker(4)
	opening := m.fresh(16)
	for range 1000 {
		t := m.begin(opening)
		var at time.Duration
		for range 4 {
			t.ask(at, 150)
			t.grow(int(m.spread(600, 0.5)))
			at += m.between(20*time.Second, 60*time.Second)
		}
	}
	t := m.trace("burst")
	t.Shift = time.Second // with half a minute there would be no burst
	return t
}

func documents(int) *Trace {
	m := newMaker(5)
	system := m.fresh(1)
	for range 100 {
		document := append(slices.Clone(system), m.fresh(20+m.rng.IntN(40))...)
		from := m.between(0, 50*time.Minute)
		for range 20 {
			t := m.begin(document)
			t.grow(int(m.spread(60, 0.5)))
			t.ask(m.between(from, from+10*time.Minute), int(m.spread(250, 0.5)))
		}
	}
	return m.trace("documents")
}

func wake(int) *Trace {
	m := newMaker(6)
	system := m.fresh(24)
	for range 100 {
		t := m.begin(system)
		t.grow(int(min(m.spread(20_000, 0.8), 150_000)))
		at := m.between(0, 5*time.Minute)
		for turn := range 20 {
			if turn == 10 {
				at = 30 * time.Minute // each history spreads it over a minute
			}
			t.ask(at, int(m.spread(200, 0.7)))
			t.grow(int(m.spread(600, 0.8)))
			at += m.between(5*time.Second, 40*time.Second)
		}
	}
	return m.trace("wake")
}

func changes(auths int) *Trace {
	m := newMaker(7)
	system := m.fresh(24)
	for range 200 {
		t := m.begin(system)
		t.grow(int(min(m.spread(15_000, 0.8), 120_000)))
		at := m.between(0, time.Hour)
		for range 1 + m.rng.IntN(40) {
			t.ask(at, int(m.spread(200, 0.7)))
			t.grow(int(m.spread(600, 0.8)))
			at += m.between(5*time.Second, 40*time.Second)
		}
	}
	t := m.trace("changes")
	if auths >= 4 {
		t.Changes = []Change{
			{20 * time.Minute, auths - 1, Added},
			{30 * time.Minute, 0, Drained},
			{40 * time.Minute, 1, Leaves},
			{50 * time.Minute, 1, Returns},
		}
	}
	return t
}

// sample makes a trace with statistics like those of real coding agents. A third of the
// sessions shares each of three system prompts. Prompts grow from 20,000 tokens to 100,000 and
// more. One pause in twenty is longer than five minutes. The trace has nothing else in common
// with real ones.
func sample() *maker {
	m := newMaker(8)
	systems := [][]int64{m.fresh(28), m.fresh(31), m.fresh(37)}
	for i := range 60 {
		t := m.begin(systems[i%len(systems)])
		t.grow(int(min(m.spread(8_000, 0.9), 60_000)))
		at := m.between(0, 90*time.Minute)
		for range int(min(max(m.spread(22, 0.8), 3), 90)) {
			output := int(min(m.spread(220, 0.9), 8_000))
			t.ask(at, output)
			t.grow(output + int(min(m.spread(600, 1.2), 20_000)))
			pause := m.spread(9, 0.9)
			if m.rng.Float64() < 0.05 {
				pause = 300 + m.rng.Float64()*1500
			}
			at += time.Duration(pause * float64(time.Second))
		}
	}
	return m
}

// ShapeOf returns the shape of this name.
func ShapeOf(name string) (Shape, error) {
	for _, s := range Shapes() {
		if s.Name == name {
			return s, nil
		}
	}
	return Shape{}, fmt.Errorf("there is no shape %q", name)
}
