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

// aliasFor is how long the old name of a renamed auth leads to its new name.
const aliasFor = 5 * time.Minute

// cell is the Load of one auth at the time at, or an old name of the cell into.
type cell struct {
	until  int64 // by clock: when an old name ends; 0 for a Load
	mu     sync.Mutex
	into   *cell // that this one was added to, nil if it counts itself
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

// Sent is a request that Begin has counted. It counts for its auth under whatever name the auth
// has by now. The methods of the zero Sent do nothing.
type Sent struct {
	cell *cell
	key  uint64
}

// lock locks a cell, or the one that it was added to, and brings it to the time now.
func (c *cell) lock(now int64) *cell {
	for {
		c.mu.Lock()
		into := c.into
		if into == nil {
			c.fade(now)
			return c
		}
		c.mu.Unlock()
		c = into
	}
}

// live returns a cell, nil if it is an old name whose time is over.
func (c *cell) live() *cell {
	if c == nil || c.until == 0 || clock() < c.until {
		return c
	}
	return nil
}

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
// that is not known. key is the key of its session, 0 for none. A host whose auths are renamed
// keeps what Begin returns, and ends the request with that. All other hosts may use the name of
// the auth.
func (l *Loads) Begin(auth string, tokens float64, key uint64) Sent {
	c := l.cell(auth).lock(clock())
	defer c.mu.Unlock()
	c.flying++
	c.add(tokens, key)
	return Sent{c, key}
}

// End says that the request has ended.
func (s Sent) End() {
	if s.cell != nil {
		s.cell.end()
	}
}

// Add corrects the tokens of the request, see [Loads.Add].
func (s Sent) Add(tokens float64) {
	if s.cell == nil {
		return
	}
	c := s.cell.lock(clock())
	defer c.mu.Unlock()
	c.add(tokens, s.key)
}

// End says that a request that Begin has counted for the auth has ended.
func (l *Loads) End(auth string) {
	if c := l.known(auth); c != nil {
		c.end()
	}
}

func (c *cell) end() {
	c = c.lock(clock())
	defer c.mu.Unlock()
	c.flying = max(0, c.flying-1)
}

// Add corrects the tokens of a request that Begin has counted: if it was longer, if it was
// shorter, or if it was not served. tokens may be negative.
func (l *Loads) Add(auth string, tokens float64, key uint64) {
	c := l.cell(auth).lock(clock())
	defer c.mu.Unlock()
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

// Rename gives an auth another name. If an auth has that name already, the two become one, and
// its Load is the sum.
//
// For 5 minutes the old name is an alias of the new one: a list of auths can have both names
// for a while, and requests that were begun under the old name can be ended under it. After
// that time the old name is free, and an auth with that name is a new one that was sent
// nothing. A second call begins the 5 minutes anew. DropAlias frees the name at once, and so
// does a Rename that gives the name to an auth. A Sent counts for the renamed auth however late
// it is ended.
func (l *Loads) Rename(from, to string) {
	if from == to {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := clock()
	if len(l.settled())+len(l.fresh)+2 > maxCells {
		l.makeRoom(now)
	}
	named := l.all(now)
	c, is := named[from], named[to]
	if c == nil || c.until != 0 { // what was sent under an old name is another auth's now
		c = &cell{at: now}
	}
	if is != nil && is.until == 0 {
		is.merge(c, now)
		c = is
	}
	named[strings.Clone(to)] = c
	named[strings.Clone(from)] = &cell{until: now + int64(aliasFor), into: c}
	l.settle(named)
}

// DropAlias frees the old name of a renamed auth before its time is over, see Rename. It does
// nothing to a name that is not such an alias.
func (l *Loads) DropAlias(name string) {
	if c := l.settled()[name]; c == nil || c.until == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	named := l.all(clock())
	if c := named[name]; c != nil && c.until != 0 {
		delete(named, name)
	}
	l.settle(named)
}

// all returns all cells by name, without the old names whose time is over.
func (l *Loads) all(now int64) map[string]*cell {
	named := make(map[string]*cell, len(l.settled())+len(l.fresh)+2)
	for name, c := range l.settled() {
		if c.until == 0 || now < c.until {
			named[name] = c
		}
	}
	maps.Copy(named, l.fresh)
	return named
}

// merge adds what another cell has counted, and all that it will be told. The lock of the
// Loads is held, so no other merge locks two cells.
func (c *cell) merge(other *cell, now int64) {
	other.mu.Lock()
	defer other.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fade(now)
	other.fade(now)
	c.flying += other.flying
	c.near = min(c.near+other.near, mostTokens)
	c.recent = min(c.recent+other.recent, mostTokens)
	switch {
	case c.main == other.main:
		c.ahead += other.ahead
		c.own += other.own
	case c.ahead >= other.ahead:
		c.ahead -= other.ahead
	default:
		c.main, c.ahead, c.own = other.main, other.ahead-c.ahead, other.own
	}
	c.own = min(c.own, c.recent)
	other.into = c
}

// Of returns the Load of an auth.
func (l *Loads) Of(auth string) (load Load) {
	c := l.known(auth)
	if c == nil {
		return load
	}
	c = c.lock(clock())
	defer c.mu.Unlock()
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
	c = c.lock(now)
	defer c.mu.Unlock()
	return c.near, c.recent
}

// known returns the cell of an auth, nil if there is none.
func (l *Loads) known(auth string) *cell {
	if c := l.settled()[auth]; c != nil {
		return c.live()
	}
	if !l.newer.Load() {
		return l.settled()[auth].live() // it may have been put there just now
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
		cells = l.all(clock())
		l.settle(cells)
	}
	if c := cells[auth]; c != nil {
		return c.live()
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
	if c := l.settled()[auth].live(); c != nil {
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.find(auth); c != nil {
		return c
	}
	now := clock()
	if l.settled()[auth] != nil { // an old name, which must not hide the new cell
		l.settle(l.all(now))
	}
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

// idle reports whether the auth of a cell was sent nothing lately. An old name is idle when its
// time is over, and when its auth is.
func (c *cell) idle(now int64) bool {
	if c.until != 0 && now >= c.until {
		return true
	}
	c = c.lock(now)
	defer c.mu.Unlock()
	return c.flying < 0.5 && c.recent < 1
}
