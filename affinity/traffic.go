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
	perByte float64 // tokens for each byte of a body, 0 before an answer has said how many
	budget  float64 // uncached tokens that moves may still cost
	since   int     // requests since a session was moved
	came    float64 // sessions that came lately, as selector.Load counts
	cold    float64 // … and that were placed anew because they were cold

	level   level // of all auths, when there are many
	leveled int64 // when it was found

	seen        int64 // when mean, least and auths were found
	mean, least float64
	auths       float64
}

// When BalanceMoving moves a session. A move costs one prompt, and takes all further prompts
// of the session away from the auth. So sessions with short prompts are moved: they have just
// begun, and most of their requests are still to come. The more load an auth has above the
// mean, the longer a prompt may be. The more sessions come, the longer it may be, because each
// of them is a smaller part of the load. The more sessions leave at no cost, because they are
// cold, the shorter it must be.
//
// The numbers are the middle of a plateau: examples/replay measures them on its own trace, and on
// public traces of real sessions.
const (
	moveAbove  = 1.04 // a session leaves an auth for load only above so many times the mean
	moveGap    = 20   // … and with so many of its prompts more than the least loaded auth
	moveShort  = 2.7  // a prompt may have so many times the mean, if the load of its auth is twice the mean
	moveExcess = 0.6  // the exponent with which that grows with the load above the mean
	moveNew    = 0.09 // … for each session that came lately, over the square root of the auths, if that is more than moveShort
	moveCold   = 2.0  // how that shrinks, for each cold session per auth
	moveEvery  = 25   // requests of a pool and model between two moves
	moveBudget = 0.02 // of all tokens: what moves may cost
	moveSaved  = 5    // mean prompts that may be saved for a move
	moveAlone  = 0.95 // a session that has more of its auth's load than this is alone there

	seenFor = time.Second // how long a look at all auths is used
)

const (
	usualPerByte = 0.25 // before an answer has said how many tokens a body has
	usualPrompt  = 4096 // tokens of the first prompt, if nothing is known of it

	// Outside of these bounds the body is not the whole prompt: a part of it is at the
	// provider.
	leastPerByte, mostPerByte = 1.0 / 16, 1.0
	// A prompt of which only the body's length is known counts as at most mostMeans times the
	// mean, or as mostPrompt tokens if fewer than mostMeans prompts came. So no client can
	// keep an auth idle with one body.
	mostMeans, mostPrompt = 32, 200_000
)

// size returns how many tokens a prompt has. said is what the host has said and body is the
// length in bytes; each may be 0 for unknown.
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

// failed corrects the tokens of a request that no auth has worked on to those of a usual one,
// and returns the difference.
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

// usual returns the mean number of tokens of a prompt.
func (t *traffic) usual() float64 {
	if t.prompts == 0 {
		return usualPrompt
	}
	return t.tokens / t.prompts
}

// sent counts a request. came says that its session is new, cold that it was placed anew
// because it was cold.
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

// measured corrects the size of a prompt, which was taken to be taken tokens, by what its
// answer says.
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

// best returns the level of all auths, if it was found a moment ago.
func (t *traffic) best(now int64) (l level, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.level, justNow(t.leveled, now)
}

// found records the level of all auths.
func (t *traffic) found(l level, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.level, t.leveled = l, now
}

// see records what all auths were sent.
func (t *traffic) see(mean, least float64, auths int, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen, t.mean, t.least, t.auths = now, mean, least, float64(auths)
}

// saw reports whether see was called a moment ago.
func (t *traffic) saw(now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return justNow(t.seen, now)
}

// justNow reports whether at is less than seenFor ago. It is false if the clock was set back.
func justNow(at, now int64) bool { return at <= now && now-at < int64(seenFor) }

// worth reports whether a session is to leave an auth with a load, if its prompt has so many
// tokens.
func (t *traffic) worth(load, tokens float64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pays(load, tokens)
}

// spend reports the same, and charges the move to the budget.
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

// maxTraffics bounds the traffics that are kept, because clients choose the names of models.
// Beyond it all are forgotten except the one that is asked for.
const maxTraffics = 256

// traffics holds the traffic of all pools and models. It is read without a lock.
type traffics struct {
	mu sync.Mutex // held to add one
	of atomic.Pointer[map[poolModel]*traffic]
}

type poolModel struct{ pool, model string }

// at returns the traffic of a pool and model.
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
