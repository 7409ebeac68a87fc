package selector

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Loads measures what was sent to each auth: requests under way, and tokens of prompts in
// the last while. Package affinity fills it (affinity.Options.Loads); a host without that
// calls Begin, End and Add itself. Selectors and affinity.Options.State read it.
//
// It costs some 200 bytes for each auth, of which it knows at most 8,192. The zero Loads
// is ready. Any number of goroutines may use it. A Loads must not be copied.
type Loads struct {
	mu    sync.Mutex // held to add an auth
	cells atomic.Pointer[map[string]*cell]
}

// Load is what is known of one auth. The zero Load is that of an auth that was sent
// nothing lately.
type Load struct {
	// InFlight is how many requests are under way. One that is never ended counts less
	// and less, by half in half an hour.
	InFlight float64
	// Near and Recent are tokens of prompts. What was sent NearHalf ago counts half in
	// Near, and what was sent RecentHalf ago counts half in Recent.
	Near, Recent float64
	// Main is the key of the session that has most of Recent, if one has more than half
	// of it, and MainShare is by how much its share is larger than that of all others
	// together, at least: 1 if there are no others, and 0 if none has more than half.
	Main      uint64
	MainShare float64
}

// Half-lives of what a Load counts. A short one alone forgets what an auth was given a
// minute ago. A long one alone sends everybody who comes in a minute to the auth that had
// the least in the last hour.
const (
	NearHalf   = 20 * time.Second
	RecentHalf = 30 * time.Minute
)

const maxCells = 1 << 13

// cell is the Load of one auth as it was at a moment.
type cell struct {
	mu     sync.Mutex
	at     int64 // UnixNano
	flying float64
	near   float64
	recent float64
	main   uint64  // a majority vote, in which tokens are the votes (Boyer and Moore 1981)
	ahead  float64 // the votes by which main is ahead of all others
}

// fade brings a cell to a moment. A clock that was set back changes nothing.
func (c *cell) fade(now int64) {
	d := float64(now - c.at)
	if d <= 0 {
		return
	}
	c.at = now
	long := math.Exp2(-d / float64(RecentHalf))
	c.flying *= long
	c.recent *= long
	c.ahead *= long
	c.near *= math.Exp2(-d / float64(NearHalf))
}

// Begin says that a request is sent to an auth: its prompt has so many tokens, 0 if nobody
// knows, and it is part of the session with this key, 0 if of none.
func (l *Loads) Begin(auth string, tokens float64, key uint64) {
	c := l.cell(auth)
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.flying++
	c.add(tokens, key)
}

// End says that a request has ended that was begun at an auth.
func (l *Loads) End(auth string) {
	c := l.cell(auth)
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.flying = max(0, c.flying-1)
}

// Add adds tokens to those that Begin was told of, or takes some away: of a request that
// was longer or shorter than that, or that was not served.
func (l *Loads) Add(auth string, tokens float64, key uint64) {
	c := l.cell(auth)
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.add(tokens, key)
}

func (c *cell) add(tokens float64, key uint64) {
	if tokens != tokens || math.IsInf(tokens, 0) {
		return
	}
	c.near = max(0, c.near+tokens)
	c.recent = max(0, c.recent+tokens)
	if key == c.main {
		c.ahead += tokens
	} else {
		c.ahead -= tokens
	}
	if c.ahead < 0 {
		c.main, c.ahead = key, -c.ahead
	}
	c.ahead = min(c.ahead, c.recent)
}

// Of returns the Load of an auth.
func (l *Loads) Of(auth string) (load Load) {
	cells := l.cells.Load()
	if cells == nil {
		return load
	}
	c := (*cells)[auth]
	if c == nil {
		return load
	}
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	load = Load{InFlight: c.flying, Near: c.near, Recent: c.recent}
	if c.recent > 0 && c.ahead > 0 {
		load.Main, load.MainShare = c.main, c.ahead/c.recent
	}
	return load
}

// cell is the one of an auth, a new one if need be.
func (l *Loads) cell(auth string) *cell {
	if cells := l.cells.Load(); cells != nil {
		if c := (*cells)[auth]; c != nil {
			return c
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UnixNano()
	old := l.cells.Load()
	grown := map[string]*cell{}
	if old != nil {
		if c := (*old)[auth]; c != nil {
			return c
		}
		for name, c := range *old {
			if len(*old) < maxCells || !c.idle(now) {
				grown[name] = c
			}
		}
	}
	if len(grown) >= maxCells { // all are busy: that is no list of auths
		clear(grown)
	}
	c := &cell{at: now}
	grown[auth] = c
	l.cells.Store(&grown)
	return c
}

// idle reports whether a cell says nothing any more.
func (c *cell) idle(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	return c.flying < 0.5 && c.recent < 1
}
