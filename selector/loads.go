package selector

import (
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Loads measures what was sent to each auth: requests under way, and tokens of prompts in
// the last while. Package affinity fills it (affinity.Options.Loads); a host without that
// calls Begin, End and Add itself. Selectors and affinity.Options.State read it.
//
// It knows at most 8,192 auths: then it forgets those that were sent nothing lately, and if
// that is no help all of them. The zero Loads is ready. Any number of goroutines may use
// it. A Loads must not be copied.
type Loads struct {
	cells atomic.Pointer[map[string]*cell] // never changed, so that it is read without a lock
	newer atomic.Bool                      // mu guards some that cells lacks
	mu    sync.Mutex
	fresh map[string]*cell // these
	asked int              // how often fresh was looked at since they were put into cells
}

// Load is what is known of one auth. The zero Load is that of an auth that was sent
// nothing lately.
type Load struct {
	// InFlight is how many requests are under way. One that is never ended counts less
	// and less, by half in RecentHalf.
	InFlight float64
	// Near and Recent are tokens of prompts. What was sent NearHalf ago counts half in
	// Near, and what was sent RecentHalf ago counts half in Recent.
	Near, Recent float64
	// Main is the key of the session that is known to have more than half of Recent, and
	// MainShare is by how much its share is larger than that of all others together, at
	// least: above 0.9 the session has more than 95 % of Recent, and 1 says that there
	// are no others. Both are 0 if no session is known to have more than half, which is
	// so for a while after one has become the largest.
	Main      uint64
	MainShare float64
}

// Half-lives of what a Load counts. A short one alone forgets what an auth was given a
// minute ago. A long one alone sends everybody who comes in a minute to the auth that had
// the least in the last hour.
const (
	NearHalf   = 10 * time.Second
	RecentHalf = 20 * time.Minute
)

const maxCells = 1 << 13

// cell is the Load of one auth as it was at a moment.
type cell struct {
	mu     sync.Mutex
	at     int64 // as clock has it
	flying float64
	near   float64
	recent float64
	main   uint64  // a majority vote, in which tokens are the votes (Boyer and Moore 1981)
	ahead  float64 // the votes by which main is ahead: it has these at least
	own    float64 // the tokens of main that were counted since it is main, part of recent
}

// mostTokens is more than anybody sends.
const mostTokens = 1e15

// fade brings a cell to a moment. One that another goroutine has overtaken changes nothing.
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
	c.own *= long
	c.near *= math.Exp2(-d / float64(NearHalf))
}

// Begin says that a request is sent to an auth: its prompt has so many tokens, 0 if nobody
// knows, and it is part of the session with this key, 0 if of none.
func (l *Loads) Begin(auth string, tokens float64, key uint64) {
	c := l.cell(auth)
	now := clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.flying++
	c.add(tokens, key)
}

// End says that a request has ended that was begun at an auth.
func (l *Loads) End(auth string) {
	c := l.known(auth)
	if c == nil {
		return
	}
	now := clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.flying = max(0, c.flying-1)
}

// Add adds tokens to those that Begin was told of, or takes some away: of a request that
// was longer or shorter than that, or that was not served.
func (l *Loads) Add(auth string, tokens float64, key uint64) {
	c := l.cell(auth)
	now := clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.add(tokens, key)
}

func (c *cell) add(tokens float64, key uint64) {
	if tokens != tokens || math.IsInf(tokens, 0) {
		return
	}
	if tokens < 0 {
		c.sub(-tokens, key)
		return
	}
	tokens = min(tokens, mostTokens-c.recent) // so that sums are numbers, and fade
	c.near += tokens
	c.recent += tokens
	switch {
	case key == c.main && key != 0:
		c.ahead += tokens
		c.own += tokens
	case tokens <= c.ahead:
		c.ahead -= tokens
	case key == 0: // of no session: against main, and for nobody
		c.main, c.ahead, c.own = 0, 0, 0
	default:
		c.main, c.ahead = key, tokens-c.ahead
		c.own = c.ahead
	}
}

// sub takes tokens away. What another session than main loses may be what main's votes
// were set off against, or not: so main wins nothing by it.
func (c *cell) sub(tokens float64, key uint64) {
	c.near = max(0, c.near-tokens)
	if key == c.main && key != 0 {
		c.ahead = max(0, c.ahead-tokens)
		c.own = max(0, c.own-tokens)
	}
	c.recent = max(c.own, c.recent-tokens) // others lose no more than they have
}

// Rename gives an auth another name. What was begun under the old name may be ended under
// it.
func (l *Loads) Rename(from, to string) {
	if from == to || l.known(from) == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.find(from)
	if c == nil {
		return
	}
	grown := make(map[string]*cell, len(l.settled())+len(l.fresh)+1)
	maps.Copy(grown, l.settled())
	maps.Copy(grown, l.fresh)
	grown[strings.Clone(to)] = c
	l.settle(grown)
}

// Of returns the Load of an auth.
func (l *Loads) Of(auth string) (load Load) {
	c := l.known(auth)
	if c == nil {
		return load
	}
	now := clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	load = Load{InFlight: c.flying, Near: c.near, Recent: c.recent}
	if lead := 2*c.own - c.recent; lead > 0 {
		load.Main, load.MainShare = c.main, lead/c.recent
	}
	return load
}

// sent is Near and Recent of an auth at a moment.
func (l *Loads) sent(auth string, now int64) (near, recent float64) {
	c := l.known(auth)
	if c == nil {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	return c.near, c.recent
}

// known is the cell of an auth, nil if there is none.
func (l *Loads) known(auth string) *cell {
	if c := l.settled()[auth]; c != nil {
		return c
	}
	if !l.newer.Load() {
		return l.settled()[auth] // it may have been put there just now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(auth)
}

func (l *Loads) settled() map[string]*cell {
	if cells := l.cells.Load(); cells != nil {
		return *cells
	}
	return nil
}

// find is known with the lock held. As soon as fresh was looked at as often as there are
// cells, they are all put together: the copy costs no more than the looks did.
func (l *Loads) find(auth string) *cell {
	cells := l.settled()
	l.asked++
	if l.asked > len(cells)+len(l.fresh) {
		grown := make(map[string]*cell, len(cells)+len(l.fresh))
		maps.Copy(grown, cells)
		maps.Copy(grown, l.fresh)
		l.settle(grown)
		cells = grown
	}
	if c := cells[auth]; c != nil {
		return c
	}
	return l.fresh[auth]
}

// settle makes these the cells.
func (l *Loads) settle(cells map[string]*cell) {
	l.cells.Store(&cells)
	l.newer.Store(false)
	l.fresh, l.asked = nil, 0
}

// cell is the one of an auth, a new one if need be.
func (l *Loads) cell(auth string) *cell {
	if c := l.settled()[auth]; c != nil {
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.find(auth); c != nil {
		return c
	}
	now := clock()
	if len(l.settled())+len(l.fresh) >= maxCells {
		l.makeRoom(now)
	}
	if l.fresh == nil {
		l.fresh = map[string]*cell{}
	}
	c := &cell{at: now}
	l.fresh[strings.Clone(auth)] = c // it may be a small part of a large string
	l.newer.Store(true)
	return c
}

// makeRoom drops the auths that were sent nothing lately. If most of so many were, that is
// no list of auths, and all are dropped: room must last for a while, since making it costs.
func (l *Loads) makeRoom(now int64) {
	busy := map[string]*cell{}
	for _, cells := range []map[string]*cell{l.settled(), l.fresh} {
		for name, c := range cells {
			if !c.idle(now) {
				busy[name] = c
			}
		}
	}
	if len(busy) > maxCells*3/4 {
		clear(busy)
	}
	l.settle(busy)
}

// idle reports whether a cell says nothing any more.
func (c *cell) idle(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	return c.flying < 0.5 && c.recent < 1
}
