package savings

import (
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Tokens are the sums over some requests.
type Tokens struct {
	Requests                             uint64
	Prompt, Cached, CacheWritten, Output uint64
}

func (t *Tokens) add(u affinity.Usage) {
	t.Requests++
	t.Prompt += uint64(max(u.Prompt, 0))
	t.Cached += uint64(max(u.Cached, 0))
	t.CacheWritten += uint64(max(u.CacheWritten, 0))
	t.Output += uint64(max(u.Output, 0))
}

func (t *Tokens) plus(o Tokens) {
	t.Requests += o.Requests
	t.Prompt += o.Prompt
	t.Cached += o.Cached
	t.CacheWritten += o.CacheWritten
	t.Output += o.Output
}

// Share returns the part of the prompt tokens that came from the cache, 0 to 1.
func (t Tokens) Share() float64 {
	if t.Prompt == 0 {
		return 0
	}
	return float64(t.Cached) / float64(t.Prompt)
}

// Auth is what a Meter has counted for one auth.
type Auth struct {
	Tokens
	// Expected counts the requests whose beginning had to be in the auth's cache: the auth has
	// served the session within Options.Warm, with a prompt that is long enough to be cached.
	// Missed counts those of them that found nothing in the cache.
	Expected, Missed uint64
	// Pauses counts the requests of sessions that the auth has served before, by the time
	// since then. PauseLimits returns the longest time of each row.
	Pauses [len(limits) + 1]Pause
}

// Plus returns the sums of two auths.
func (a Auth) Plus(b Auth) Auth {
	a.Tokens.plus(b.Tokens)
	a.Expected += b.Expected
	a.Missed += b.Missed
	for i, p := range b.Pauses {
		a.Pauses[i].Requests += p.Requests
		a.Pauses[i].Expected += p.Expected
		a.Pauses[i].Cached += p.Cached
	}
	return a
}

// Pause counts requests after pauses of some length, and the tokens that were expected in the
// cache and found there.
type Pause struct {
	Requests         uint64
	Expected, Cached uint64
}

// limits are the longest pauses of each row of Auth.Pauses except the last.
var limits = [...]time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 30 * time.Minute, time.Hour,
}

// PauseLimits returns the longest pauses of the rows of Auth.Pauses. The last row, which has
// no limit, counts the longer ones.
func PauseLimits() []time.Duration { return append([]time.Duration(nil), limits[:]...) }

func pauseOf(d time.Duration) int {
	for i, most := range limits {
		if d <= most {
			return i
		}
	}
	return len(limits)
}

const (
	// leastSeen is how many requests are needed to judge a pause.
	leastSeen = 20
	// warmShare is the part of the expected tokens that must be found for a cache to be warm.
	warmShare = 0.5
)

// Warm returns how long the auth's prompt cache was seen to live, at least: the longest pause
// after which most of the expected tokens were found. Only pauses with at least 20 requests
// count. ok is false if nothing is known.
func (a *Auth) Warm() (warm time.Duration, ok bool) {
	for i, p := range a.Pauses {
		switch {
		case p.Requests < leastSeen:
		case p.isCold():
			return warm, true
		case i < len(limits):
			warm, ok = limits[i], true
		}
	}
	return warm, ok
}

func (p *Pause) isCold() bool { return float64(p.Cached) < warmShare*float64(p.Expected) }

// ends returns how long the cache lives at most: after longer pauses most of the expected
// tokens were not found. Only pauses with at least 20 requests count. ok is false if the cache
// was not seen to expire.
func (a *Auth) ends() (most time.Duration, ok bool) {
	for i, p := range a.Pauses {
		if p.Requests < leastSeen || !p.isCold() {
			continue
		}
		if i > 0 {
			most = limits[i-1]
		}
		return most, true
	}
	return 0, false
}

// Snapshot holds the numbers of a Meter.
type Snapshot struct {
	// Outcomes are the tokens by the outcome of the pick.
	Outcomes [affinity.OutcomeWaits + 1]Tokens
	// Auths are the numbers by the name of the auth, for at most 1,024 auths.
	Auths map[string]Auth
	// Unknown counts the served requests whose answer has reported no usage.
	Unknown uint64
	// CachedWithout estimates the tokens that would have come from caches without affinity.
	CachedWithout float64
	// Warm is Options.Warm.
	Warm time.Duration
	// Cost is the cost at Options.Prices, and CostWithout estimates it without affinity.
	Cost, CostWithout float64
}

// Total returns the tokens of all requests.
func (s *Snapshot) Total() (t Tokens) {
	for _, one := range s.Outcomes {
		t.plus(one)
	}
	return t
}

// ShareWithout estimates Tokens.Share without affinity.
func (s *Snapshot) ShareWithout() float64 {
	if t := s.Total(); t.Prompt > 0 {
		return s.CachedWithout / float64(t.Prompt)
	}
	return 0
}

// String returns one line that says what was saved.
func (s Snapshot) String() string {
	t := s.Total()
	if t.Prompt == 0 {
		return "prompt cache: no answer has reported its usage"
	}
	text := fmt.Sprintf("prompt cache: %.1f %% of %d prompt tokens, about %.1f %% without affinity",
		100*t.Share(), t.Prompt, 100*s.ShareWithout())
	if s.CostWithout > 0 {
		text += fmt.Sprintf("; cost %.2f instead of about %.2f", s.Cost, s.CostWithout)
	}
	return text
}

// Snapshot returns the numbers so far. The caller may change it.
func (m *Meter) Snapshot() (s Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s = Snapshot{Outcomes: m.outcomes, Auths: map[string]Auth{}, Unknown: m.unknown, CachedWithout: m.without, Warm: m.o.Warm, Cost: m.cost, CostWithout: m.spread}
	for _, name := range m.auths.Keys() {
		a, _ := m.auths.Peek(name)
		s.Auths[name] = *a
	}
	return s
}
