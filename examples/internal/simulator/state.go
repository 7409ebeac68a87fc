package simulator

import (
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// names holds the state that a request names or asks for.
type names struct {
	previous     string // a response, an interaction or a message of a thread
	conversation string
	cached       string // Gemini's cachedContents/…
	container    string
	newContainer bool
	thread       bool // Anthropic: this answer can be continued
	store        bool // OpenAI, Interactions: so can this one
}

// state is what a credential has made and may name later.
type state struct {
	head, said []part
	tool       string
	items      list      // the items of a conversation
	shown      object    // what the API shows of it
	used       time.Time // time of the last use
	expires    time.Time // zero: never
}

// states holds what one credential has made, by id. It is not safe for concurrent use.
type states struct {
	byID *simplelru.LRU[string, *state]
}

func newStates(most int) *states {
	lru, err := simplelru.NewLRU[string, *state](most, nil)
	if err != nil {
		panic(err) // only for a size below one, which New excludes
	}
	return &states{lru}
}

// get returns nil if the id is unknown or has expired, or, if idle is not zero, was not used
// for that long.
func (s *states) get(id string, idle time.Duration) *state {
	st, ok := s.byID.Get(id)
	if !ok {
		return nil
	}
	now := time.Now()
	if idle > 0 && now.Sub(st.used) >= idle || !st.expires.IsZero() && !now.Before(st.expires) {
		s.byID.Remove(id)
		return nil
	}
	st.used = now
	return st
}

func (s *states) put(id string, st *state) {
	st.used = time.Now()
	s.byID.Add(id, st)
}

// recall adds the state that the request names before what it says, or refuses the request.
func (a *account) recall(d *dialect, q *question, threadTTL time.Duration) *refusal {
	n := &q.names
	if n.cached != "" {
		st := a.states.get(n.cached, 0)
		if st == nil {
			return noCachedContent
		}
		q.pinned = slices.Concat(st.head, st.said)
		if q.tool == "" {
			q.tool = st.tool
		}
	}
	if n.container != "" && a.states.get(n.container, 0) == nil {
		return &refusal{status: http.StatusNotFound, message: "Container not found: " + n.container}
	}
	if n.conversation != "" {
		st := a.states.get(n.conversation, 0)
		if st == nil {
			return noConversation(n.conversation)
		}
		q.before = st.said
	}
	if n.previous == "" {
		return nil
	}
	idle := time.Duration(0)
	if d == &messages {
		idle = threadTTL
	}
	st := a.states.get(n.previous, idle)
	if st == nil {
		return noPrevious(d, n.previous)
	}
	q.before = st.said
	if d == &messages { // a thread keeps system and tools too
		q.head = st.head
		if q.tool == "" {
			q.tool = st.tool
		}
	}
	return nil
}

// noPrevious returns how each API refuses to continue what it does not know.
func noPrevious(d *dialect, id string) *refusal {
	switch d {
	case &messages:
		return &refusal{status: http.StatusNotFound, message: "Thread not found: " + id, code: "thread_not_found"}
	case &responses:
		return &refusal{status: http.StatusBadRequest, message: "Previous response with id '" + id + "' not found.", code: "previous_response_not_found", param: "previous_response_id"}
	}
	return &refusal{status: http.StatusNotFound, message: "Interaction " + id + " not found."}
}

// keep makes the state that the answer names. It keeps only what a later request can name.
func (a *account) keep(d *dialect, q *question, ans *answer) {
	n := &ans.state
	if n.container != "" {
		a.states.put(n.container, &state{expires: time.Now().Add(containerLife)})
	}
	id := d.prefix + ans.id
	if conv := a.states.get(n.conversation, 0); conv != nil {
		conv.said = slices.Concat(conv.said, q.said, d.repeat(ans))
		conv.items = slices.Concat(conv.items, itemsOf(q.input), responseOutput(ans))
	}
	if d == &messages && n.thread || d != &messages && n.store {
		st := &state{head: q.head, said: slices.Concat(q.before, q.said, d.repeat(ans)), tool: q.tool}
		if d == &responses {
			st.shown, _ = d.whole(ans).(object)
		}
		a.states.put(id, st)
	}
}
