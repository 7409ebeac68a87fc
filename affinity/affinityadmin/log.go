package affinityadmin

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

const (
	outcomes        = int(affinity.OutcomeWaits) + 1
	defaultSessions = 10_000
	// perSession is how many events of a session are kept, and recent how many sessions
	// the overview shows.
	perSession = 20
	recent     = 20
	minutes    = 60
)

// Log keeps the latest events for a Page. Any number of goroutines may use it.
type Log struct {
	mu       sync.Mutex
	sessions *simplelru.LRU[sessionid.Key, *history]
	hour     [minutes]minute
}

// history holds the latest events of a session.
type history struct {
	events [perSession]entry // a ring
	n      int
	known  affinity.Event // the latest event by which the session can be found
}

type entry struct {
	at    time.Time
	event affinity.Event
}

// minute counts the picks of one minute.
type minute struct {
	number int64 // since 1970
	picks  [outcomes]uint64
}

// NewLog makes a Log for a number of sessions. 0 is 10,000. A session needs about 7 KB. NewLog
// panics if the number is negative.
func NewLog(sessions int) *Log {
	if sessions == 0 {
		sessions = defaultSessions
	}
	l := &Log{}
	var err error
	if l.sessions, err = simplelru.NewLRU[sessionid.Key, *history](sessions, nil); err != nil {
		panic("affinityadmin: NewLog: the number of sessions is negative")
	}
	return l
}

// Observe adds an event, for affinity.Options.OnEvent.
func (l *Log) Observe(_ context.Context, e affinity.Event) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.Reported {
		n := now.Unix() / 60
		m := &l.hour[n%minutes]
		if m.number != n {
			*m = minute{number: n}
		}
		m.picks[min(int(e.Decision.Outcome), outcomes-1)]++
	}
	name := e.Decision.Session
	if name == (sessionid.Key{}) {
		return
	}
	h, ok := l.sessions.Get(name)
	if !ok {
		h = &history{}
		l.sessions.Add(name, h)
	}
	if e.Locates() {
		h.known = e.Clone()
	}
	// Keep only the fields that are shown, and no string that could be a part of a large body.
	h.events[h.n%perSession] = entry{now, affinity.Event{Decision: e.Decision, Reported: e.Reported, Report: e.Report, Again: e.Again}}
	h.n++
}

// lately returns the counts of the last hour, the oldest minute first.
func (l *Log) lately() (all [minutes]minute) {
	now := time.Now().Unix() / 60
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range all {
		n := now - minutes + 1 + int64(i)
		if all[i].number = n; l.hour[n%minutes].number == n {
			all[i] = l.hour[n%minutes]
		}
	}
	return all
}

// latest returns the last event of each of the sessions that were seen last, the latest first.
func (l *Log) latest() (all []entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := l.sessions.Keys()
	for i := len(keys) - 1; i >= 0 && len(all) < recent; i-- {
		h, _ := l.sessions.Peek(keys[i])
		all = append(all, h.events[(h.n-1)%perSession])
	}
	return all
}

// find returns the events of the session with a stable name, the latest first.
func (l *Log) find(name string) (known affinity.Event, all []entry) {
	l.mu.Lock()
	keys := l.sessions.Keys()
	l.mu.Unlock()
	at := slices.IndexFunc(keys, func(key sessionid.Key) bool { // with no lock held, because picks would wait for it
		return (affinity.Decision{Session: key}).SessionName(false) == name
	})
	if at < 0 {
		return known, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.sessions.Peek(keys[at])
	if !ok {
		return known, nil
	}
	for i := range min(h.n, perSession) {
		all = append(all, h.events[(h.n-1-i)%perSession])
	}
	return h.known, all
}
