package selector

import (
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Loads counts what was sent to each auth: requests under way, and prompt tokens of the last
// seconds and of the last hour. Package affinity fills it (affinity.Options.Loads). A host
// without that package calls Begin, End and Add itself. Selectors and affinity.Options.State
// read it.
//
// It holds at most 8,192 auths. When there are more, it forgets those that were sent nothing
// lately, or all of them if most were sent something. The zero Loads is ready to use. Any
// number of goroutines may use it. A Loads must not be copied.
type Loads struct {
	cells atomic.Pointer[map[string]*cell] // never changed, so that it is read without a lock
	newer atomic.Bool                      // fresh has some that cells lacks
	mu    sync.Mutex
	fresh map[string]*cell // those that cells lacks
	asked int              // how often fresh was searched since it was last put into cells
}

// Load is what was sent to one auth. The zero Load is that of an auth that was sent nothing
// lately.
type Load struct {
	// InFlight is how many requests are under way. It halves every RecentHalf, so that
	// requests that are never ended are forgotten.
	InFlight float64
	// Near is the prompt tokens of the last seconds: tokens that were sent NearHalf ago count
	// half.
	Near float64
	// Recent is the prompt tokens of the last hour: tokens that were sent RecentHalf ago count
	// half.
	Recent float64
	// Main is the key of the session that is known to have more than half of Recent, 0 if
	// there is none. After a session has become the largest, it takes a while until that is
	// known.
	Main uint64
	// MainShare is the share of Main in Recent, or less: the session has at least so much. It is
	// above 0.5, and 1 if there are no others; without a Main it is 0.
	MainShare float64
}

// The half-lives of Near and of Recent. Near alone would forget what an auth was sent a minute
// ago. Recent alone would give all new sessions of a minute to the auth that was sent the
// least in the last hour.
const (
	NearHalf   = 10 * time.Second
	RecentHalf = 20 * time.Minute
)

const maxCells = 1 << 13

// cell is the Load of one auth at the time at.
type cell struct {
	mu     sync.Mutex
	at     int64 // by clock
	flying float64
	near   float64
	recent float64
	main   uint64  // a majority vote, in which tokens are the votes (Boyer and Moore 1981)
	ahead  float64 // the votes by which main is ahead: a lower bound of its tokens
	own    float64 // the tokens of main that were counted since it became main, part of recent
}

// mostTokens is more than any auth is sent.
const mostTokens = 1e15

// fade brings a cell to the time now. It does nothing if another goroutine has brought the
// cell to a later time.
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

// Begin counts a request that is sent to an auth. tokens is the length of its prompt, 0 if
// that is not known. key is the key of its session, 0 for none.
func (l *Loads) Begin(auth string, tokens float64, key uint64) {
	c := l.cell(auth)
	now := clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	c.flying++
	c.add(tokens, key)
}

// End says that a request that Begin has counted has ended.
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

// Add corrects the tokens of a request that Begin has counted: if it was longer, if it was
// shorter, or if it was not served. tokens may be negative.
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
	case key == 0: // of no session: votes against main, and for none
		c.main, c.ahead, c.own = 0, 0, 0
	default:
		c.main, c.ahead = key, tokens-c.ahead
		c.own = c.ahead
	}
}

// sub subtracts tokens. If another session than main loses tokens, main gains no votes,
// because it is not known whether these tokens have reduced its votes.
func (c *cell) sub(tokens float64, key uint64) {
	c.near = max(0, c.near-tokens)
	if key == c.main && key != 0 {
		c.ahead = max(0, c.ahead-tokens)
		c.own = max(0, c.own-tokens)
	}
	c.recent = max(c.own, c.recent-tokens) // the others lose no more than they have
}

// Rename gives an auth another name. Requests that were begun under the old name may be ended
// under the old name.
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
	if c.own > c.recent/2 {
		load.Main, load.MainShare = c.main, c.own/c.recent
	}
	return load
}

// sent returns Near and Recent of an auth at the time now.
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

// known returns the cell of an auth, nil if there is none.
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

// find is known with the lock held. When fresh was searched as often as there are cells, all
// cells are put into one map: the copy costs no more than the searches did.
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

// settle sets the cells.
func (l *Loads) settle(cells map[string]*cell) {
	l.cells.Store(&cells)
	l.newer.Store(false)
	l.fresh, l.asked = nil, 0
}

// cell returns the cell of an auth, a new one if there is none.
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

// makeRoom drops the auths that were sent nothing lately. If most of them were sent something,
// these are not the auths of a gateway, and all are dropped: makeRoom is expensive, and must
// not be needed again soon.
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

// idle reports whether the auth of a cell was sent nothing lately.
func (c *cell) idle(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	return c.flying < 0.5 && c.recent < 1
}
