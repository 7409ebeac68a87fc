// Package savings measures what session affinity saves: the prompt tokens that came from a
// provider's prompt cache, in total, by outcome and by auth; their cost at the operator's
// prices; and an estimate of both without affinity. An auth is what the gateway chooses among:
// a credential, an account, a replica.
//
//	m, err := savings.New(nil)
//	if err != nil { ... }
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{OnEvent: m.Observe})
//	...
//	fmt.Println(m.Snapshot())
//
// It needs the usage that answers report. Package affinityhttp reads it from answers. Other
// hosts pass it to Pick.Done; an affinityhttp.AnswerWriter reads it for them.
//
// # Without affinity
//
// The estimate assumes a gateway that sends each request to one of n auths at random, with
// equal probability. The prompt cache of that auth then has what the auth was last sent of
// this conversation, if that was within Options.Warm. This was the conversation's previous
// request with a probability of 1/n, the one before that with (1-1/n)/n, and so on.
//
// The two requests have at most the prompt of the earlier one in common, and at most what was
// read from the cache now, if a warm cache was expected. A prefix that many conversations
// share, such as a system prompt, is cached in both cases. Its length is what the
// conversation's first request has found in the cache. If that found nothing, it is the least
// that first requests of the model have found lately.
//
// # Caches that are not there
//
// An auth can be one name for several processes of a provider, or have caching switched off,
// or a cache that lives shorter than expected. Then a session that stays on the auth finds no
// cache. Auth.Missed counts such requests, and Auth.Pauses shows after which pauses the cache
// was still there.
package savings

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Options configure a Meter. The zero value is ready to use.
type Options struct {
	// Prices returns the prices of a model at an auth. With nil no cost is counted. It is
	// called with a lock held: it must be quick and must not call the Meter. The model is the
	// one that the client has named.
	Prices func(auth, model string) Prices
	// Auths is the number of auths that requests would be spread over without affinity. 0 is
	// the number of candidates of each pick.
	Auths int
	// Warm is how long a provider's prompt cache lives after its last use. 0 is 5 minutes.
	Warm time.Duration
	// MaxSessions is how many sessions the Meter remembers at a time, with their latest
	// requests. 0 is 10,000. Beyond it the session that was used least recently is forgotten,
	// and counts as new when it returns.
	MaxSessions int
}

// Prices are the prices of a million tokens, in any currency.
type Prices struct {
	// Prompt is the price of prompt tokens that are neither read from the cache nor written to
	// it.
	Prompt, Cached, CacheWritten, Output float64
}

// Cost returns what the tokens of a request cost.
func (p Prices) Cost(u affinity.Usage) float64 {
	plain := max(u.Prompt-u.Cached-u.CacheWritten, 0)
	return (float64(plain)*p.Prompt + float64(u.Cached)*p.Cached + float64(u.CacheWritten)*p.CacheWritten + float64(u.Output)*p.Output) / 1e6
}

const (
	defaultWarm     = 5 * time.Minute
	defaultSessions = 10_000
	// maxAuths bounds the auths. Beyond it the one that was used least recently is forgotten.
	maxAuths = 1024
	// maxModels bounds the models, whose names clients choose.
	maxModels = 256
	// remembered is how many requests of a session are remembered. With eight auths one in
	// seventy conversations has not been at an auth for longer.
	remembered = 32
	// leastPrompt is how long a prompt must be, so that it counts as missed if it is not
	// cached: providers cache no prompt that is shorter than some thousand tokens.
	leastPrompt = 4096
)

// Meter counts the usage that events report. Any number of goroutines may use it.
type Meter struct {
	o Options

	warm atomic.Pointer[map[string]time.Duration] // of auths whose cache was seen to expire

	mu       sync.Mutex
	outcomes [affinity.OutcomeWaits + 1]Tokens
	shared   *simplelru.LRU[string, shared] // by model
	auths    *simplelru.LRU[string, *Auth]
	sessions *simplelru.LRU[sessionKey, *session]
	without  float64 // tokens that would have been cached without affinity
	cost     float64
	spread   float64 // what it would have cost
	unknown  uint64
}

// shared holds how many tokens the first requests of conversations have found in the cache
// lately.
type shared struct {
	found [8]int // a ring
	n     int
}

func (s *shared) add(found int) {
	s.found[s.n%len(s.found)] = found
	s.n++
}

// least returns the least of them, 0 if there were none.
func (s *shared) least() int {
	if s.n == 0 {
		return 0
	}
	return slices.Min(s.found[:min(s.n, len(s.found))])
}

// sessionKey is a session and a model, because a prompt cache belongs to a model.
type sessionKey struct {
	name  sessionid.Key
	model string
}

// session holds the latest requests of a session.
type session struct {
	sent   [remembered]sent // a ring
	n      int              // how many there were
	shared int              // what its first request found in the cache
}

type sent struct {
	at     time.Time
	auth   string
	prompt int
}

// New makes a Meter. An error names the option that is wrong.
func New(o *Options) (*Meter, error) {
	m := &Meter{}
	if o != nil {
		m.o = *o
	}
	switch {
	case m.o.Auths < 0:
		return nil, fmt.Errorf("savings: Options.Auths is %d, want at least 0", m.o.Auths)
	case m.o.Warm < 0:
		return nil, fmt.Errorf("savings: Options.Warm is %v, want at least 0", m.o.Warm)
	case m.o.MaxSessions < 0:
		return nil, fmt.Errorf("savings: Options.MaxSessions is %d, want at least 0", m.o.MaxSessions)
	}
	if m.o.Warm == 0 {
		m.o.Warm = defaultWarm
	}
	if m.o.MaxSessions == 0 {
		m.o.MaxSessions = defaultSessions
	}
	m.warm.Store(&map[string]time.Duration{})
	m.auths, _ = simplelru.NewLRU[string, *Auth](maxAuths, nil) // the sizes are positive: no error
	m.shared, _ = simplelru.NewLRU[string, shared](maxModels, nil)
	m.sessions, _ = simplelru.NewLRU[sessionKey, *session](m.o.MaxSessions, nil)
	return m, nil
}

// Observe counts an event, for affinity.Options.OnEvent. Only the first report of a pick
// counts.
func (m *Meter) Observe(_ context.Context, e affinity.Event) {
	if !e.Reported || e.Again || e.Report.Result != affinity.Served {
		return
	}
	u := e.Report.Usage
	u.Prompt, u.Cached, u.CacheWritten, u.Output = max(u.Prompt, 0), max(u.Cached, 0), max(u.CacheWritten, 0), max(u.Output, 0)
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.Prompt == 0 {
		m.unknown++
		return
	}
	u.Cached = min(u.Cached, u.Prompt)
	d := &e.Decision
	m.outcomes[min(d.Outcome, affinity.OutcomeWaits)].add(u)
	a, ok := m.auths.Get(d.Auth)
	if !ok {
		a = &Auth{}
		m.auths.Add(d.Auth, a)
	}
	a.Tokens.add(u)

	found := float64(u.Cached) // without affinity
	if d.Session != (sessionid.Key{}) {
		found = m.follow(&e, u, a)
	}
	m.without += found
	if m.o.Prices == nil {
		return
	}
	p := m.o.Prices(d.Auth, e.Model)
	cost := p.Cost(u)
	m.cost += cost
	// Tokens that would not have been read from the cache would have been written to it, if
	// the provider reports writes.
	lost := float64(u.Cached) - found
	price := p.Prompt
	if u.CacheWritten > 0 {
		price = p.CacheWritten
	}
	m.spread += max(cost+lost*(price-p.Cached)/1e6, 0)
}

// follow counts a request of a session, and returns how many tokens of it would have come
// from a cache without affinity.
func (m *Meter) follow(e *affinity.Event, u affinity.Usage, a *Auth) float64 {
	d, now := &e.Decision, time.Now()
	key := sessionKey{d.Session, e.Model}
	s, ok := m.sessions.Get(key)
	if !ok {
		key.model = strings.Clone(key.model) // it may be a small part of a large body
		s = &session{shared: u.Cached}
		m.sessions.Add(key, s)
		if u.Cached > 0 {
			others, _ := m.shared.Peek(key.model)
			others.add(u.Cached)
			m.shared.Add(key.model, others)
		}
	}
	if s.shared == 0 {
		others, _ := m.shared.Get(e.Model)
		s.shared = others.least()
	}
	found := float64(min(s.shared, u.Cached))
	if s.n > 0 {
		common := u.Prompt // with the requests before it, at most …
		if m.measure(s, now, a, d.Auth, u) {
			common = u.Cached // … or as the cache has shown, also for later requests
			for j := 1; j <= min(s.n, remembered); j++ {
				b := s.before(j)
				b.prompt = min(b.prompt, common)
			}
		}
		found = s.spread(now, max(m.authsOf(d), 1), m.o.Warm, common)
	}
	s.sent[s.n%remembered] = sent{now, d.Auth, u.Prompt}
	s.n++
	return found
}

func (m *Meter) authsOf(d *affinity.Decision) int {
	if m.o.Auths > 0 {
		return m.o.Auths
	}
	return d.Candidates
}

// before returns the request that was sent j requests before the current one.
func (s *session) before(j int) *sent { return &s.sent[(s.n-j)%remembered] }

// spread returns how many tokens would have come from the cache of an auth chosen at random.
// most is how many the request can have in common with those before it.
func (s *session) spread(now time.Time, auths int, warm time.Duration, most int) (found float64) {
	chance, left := 1/float64(auths), 1.0
	for j := 1; j <= min(s.n, remembered); j++ {
		b := s.before(j)
		common := min(s.shared, most)
		if now.Sub(b.at) <= warm {
			common = max(common, min(b.prompt, most))
		}
		found += left * chance * float64(common)
		left *= 1 - chance
	}
	return found + left*float64(min(s.shared, most))
}

// measure records how much an auth still had in its cache of a session that it has served
// before. It returns whether it served the session so lately that the cache had to be warm.
func (m *Meter) measure(s *session, now time.Time, a *Auth, auth string, u affinity.Usage) (expected bool) {
	warm := m.o.Warm
	for j := 1; j <= min(s.n, remembered); j++ {
		b := s.before(j)
		if b.auth != auth {
			continue
		}
		pause := now.Sub(b.at)
		p := &a.Pauses[pauseOf(pause)]
		p.Requests++
		p.Expected += uint64(min(b.prompt, u.Prompt))
		p.Cached += uint64(min(u.Cached, b.prompt))
		if p.Requests >= leastSeen {
			m.learn(auth, a)
		}
		if pause > warm {
			return false
		}
		if min(b.prompt, u.Prompt) >= leastPrompt {
			a.Expected++
			if u.Cached == 0 {
				a.Missed++
			}
		}
		return true
	}
	return false
}

// learn records how long the cache of an auth lives, if it was seen to expire.
func (m *Meter) learn(auth string, a *Auth) {
	most, ok := a.ends()
	known := *m.warm.Load()
	if old, had := known[auth]; had == ok && old == most {
		return
	}
	now := maps.Clone(known)
	if delete(now, auth); ok {
		now[auth] = most
	}
	maps.DeleteFunc(now, func(name string, _ time.Duration) bool { return !m.auths.Contains(name) })
	m.warm.Store(&now)
}

// Warm returns how long the prompt cache of an auth lives at most, if the Meter has seen it
// expire: at least 20 requests came after longer pauses, and most of the tokens that were
// expected in the cache were not there. It returns at least a second. It is for
// affinity.Options.WarmOf, and takes no lock.
func (m *Meter) Warm(auth string) (warm time.Duration, ok bool) {
	warm, ok = (*m.warm.Load())[auth]
	return max(warm, time.Second), ok
}
