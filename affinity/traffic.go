package affinity

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/selector"
)

// traffic is what is known of the requests of one pool and model.
type traffic struct {
	mu      sync.Mutex
	at      int64   // UnixNano, of prompts and tokens
	prompts float64 // lately, as selector.Load counts
	tokens  float64 // … of these
	perByte float64 // tokens of a body's byte, 0 before an answer has said how many
	budget  float64 // tokens that moves may cost
	since   int     // requests since a session was moved
	came    float64 // sessions that came lately, as selector.Load counts
	cold    float64 // … and that were placed anew because they were cold

	level   level // of all auths, when there are many
	leveled int64 // when it was found

	seen        int64 // when somebody has looked at what all auths were sent
	mean, least float64
	auths       float64
}

// What moves a session under BalanceMoving. A move costs one prompt and takes all further
// ones away from the auth. So short prompts are the ones to move: sessions begin with them,
// and have most of their requests still before them. The more an auth has above the mean,
// the longer a prompt may be. The more sessions come, the less is each of them, and the
// sooner is one moved. The more go away for nothing, because they are cold, the later.
//
// The numbers are the middle of a plateau: examples/replay measures them on real traces.
const (
	moveAbove  = 1.04 // times the mean an auth has at least that a session leaves for load
	moveGap    = 20   // such prompts that it has more than the least loaded, at least
	moveShort  = 2.7  // times the mean a prompt may have, if the auth has twice the mean
	moveExcess = 0.6  // how that grows with what the auth has above the mean: the exponent
	moveNew    = 0.09 // … for each session that came lately, over the square root of the auths, if that is more than moveShort
	moveCold   = 2.0  // how that shrinks, for each cold session of an auth
	moveEvery  = 25   // requests of a pool and model between two moves
	moveBudget = 0.02 // of the tokens that moves may cost
	moveSaved  = 5    // mean prompts that may be saved for a move
	moveAlone  = 0.9  // a session is its auth's load that is ahead of all others there by so much of it

	seenFor = time.Second // how long what was seen of all auths holds
)

const (
	usualPerByte = 0.25 // before an answer has said how many tokens a body has
	usualPrompt  = 4096 // tokens of a prompt of which nothing is known, before any other

	// Of other answers the body does not say how long the prompt was: a part of it is at
	// the provider.
	leastPerByte, mostPerByte = 1.0 / 16, 1.0
	// A prompt of which only the body's length is known counts as no more, so that nobody
	// keeps an auth from work with one body: as so many times the mean of at least so many
	// prompts, or as a large prompt.
	mostMeans, mostPrompt = 32, 200_000
)

// size is how many tokens a prompt has, of which the host may have said that, or 0, in a
// body of so many bytes, or 0.
func (t *traffic) size(said, body int) float64 {
	if said > 0 {
		return float64(said)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	mean, most := t.usual(), float64(mostPrompt)
	if t.prompts >= mostMeans {
		most = mostMeans * mean
	}
	switch {
	case body == 0:
		return min(mean, most)
	case t.perByte > 0:
		return min(float64(body)*t.perByte, most)
	}
	return min(float64(body)*usualPerByte, most)
}

// failed takes back what a request was counted for that nobody has worked on, and returns
// how much that is. It counts as a usual one.
func (t *traffic) failed(tokens float64) (back float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	usual := float64(usualPrompt)
	if t.prompts >= mostMeans {
		usual = t.usual()
	}
	back = max(0, tokens-usual)
	t.tokens = max(0, t.tokens-back)
	return back
}

// usual is how many tokens a prompt has in the mean.
func (t *traffic) usual() float64 {
	if t.prompts == 0 {
		return usualPrompt
	}
	return t.tokens / t.prompts
}

// sent counts a request: of a session that is new, or that was placed anew because it was
// cold, or of neither.
func (t *traffic) sent(tokens float64, came, cold bool, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := now - t.at; d > 0 {
		fade := math.Exp2(-float64(d) / float64(selector.RecentHalf))
		t.prompts, t.tokens, t.came, t.cold, t.at = t.prompts*fade, t.tokens*fade, t.came*fade, t.cold*fade, now
	}
	switch {
	case came:
		t.came++
	case cold:
		t.cold++
	}
	t.prompts++
	t.since++
	t.tokens += tokens
	t.budget = min(t.budget+moveBudget*tokens, moveSaved*t.tokens/t.prompts)
}

// measured takes what an answer says of the prompt's size, which was taken to be so many
// tokens.
func (t *traffic) measured(bytes int, taken, tokens float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tokens = max(0, t.tokens+tokens-taken)
	perByte := tokens / float64(bytes)
	switch {
	case !(perByte >= leastPerByte && perByte <= mostPerByte):
	case t.perByte == 0:
		t.perByte = perByte
	default:
		t.perByte += (perByte - t.perByte) / 64
	}
}

// best is the level that all auths had a moment ago.
func (t *traffic) best(now int64) (l level, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.level, justNow(t.leveled, now)
}

// found notes the level of all auths.
func (t *traffic) found(l level, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.level, t.leveled = l, now
}

// see notes what all auths were sent.
func (t *traffic) see(mean, least float64, auths int, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen, t.mean, t.least, t.auths = now, mean, least, float64(auths)
}

// saw reports whether somebody has looked at all auths a moment ago.
func (t *traffic) saw(now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return justNow(t.seen, now)
}

// justNow reports whether something was a moment ago. A clock that was set back ends it.
func justNow(at, now int64) bool { return at <= now && now-at < int64(seenFor) }

// worth reports whether a session is to leave an auth that was sent so much, if its prompt
// has so many tokens.
func (t *traffic) worth(load, tokens float64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pays(load, tokens)
}

// spend reports the same, and takes the price of the move.
func (t *traffic) spend(load, tokens float64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.pays(load, tokens) {
		return false
	}
	t.budget -= tokens
	t.since = 0
	return true
}

func (t *traffic) pays(load, tokens float64) bool {
	if !(t.mean > 0) || t.prompts == 0 || t.since < moveEvery || tokens > t.budget ||
		load <= moveAbove*t.mean || load-t.least < moveGap*tokens {
		return false
	}
	short := max(moveShort, moveNew*t.came/math.Sqrt(t.auths)) / (1 + moveCold*t.cold/t.auths)
	return tokens <= t.tokens/t.prompts*short*math.Pow(load/t.mean-1, moveExcess)
}

// maxTraffics bounds what is known, because clients choose the names of models. Beyond it
// all is forgotten but what is asked for.
const maxTraffics = 256

// traffics are those of all pools and models. They are read without a lock.
type traffics struct {
	mu sync.Mutex // held to add one
	of atomic.Pointer[map[poolModel]*traffic]
}

type poolModel struct{ pool, model string }

// at is the one of a pool and model.
func (s *traffics) at(pool, model string) *traffic {
	key := poolModel{pool, model}
	if known := s.of.Load(); known != nil {
		if t := (*known)[key]; t != nil {
			return t
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	grown := map[poolModel]*traffic{}
	if known := s.of.Load(); known != nil {
		if t := (*known)[key]; t != nil {
			return t
		}
		if len(*known) < maxTraffics {
			for key, t := range *known {
				grown[key] = t
			}
		}
	}
	t := new(traffic)
	grown[poolModel{strings.Clone(pool), strings.Clone(model)}] = t // they may be small parts of a large body
	s.of.Store(&grown)
	return t
}
