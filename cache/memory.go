package cache

import (
	"context"
	"sync"
)

// Memory is the Store and the Admin in this process. It starts no goroutine: it never returns
// what has expired, and frees it when something new is written, or in Sweep. Its operations
// wait only for each other, so it ignores their contexts.
//
// Operations are atomic as Store demands, with two limits. Fallbacks are looked up before the
// operation, not in it. So if two requests of one conversation run at once, and one can only
// be found by a key that the other is just binding, each may begin a session. And a session
// that is evicted because the store is full may be evicted just after the operation that
// filled it.
//
// A second use of a session within ten milliseconds, or within a thousandth of the TTL if that is
// less, may not start the TTL again. So the time of a use is exact to that. If a session was bound
// between the two, it is exact to a microsecond, so that the session that was used later stays
// longer in a full store.
type Memory struct {
	sessions table
	notes    table
	options  sync.Mutex // for SetOptions
}

var _ interface {
	Store
	Admin
} = (*Memory)(nil)

// New makes a Memory. A nil o means the zero Options. An error names the option that cannot
// work.
func New(o *Options) (*Memory, error) {
	all, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Memory{}
	m.sessions.init(&all, newOrigin())
	all.OnRemove = nil
	m.notes.init(&all, newOrigin())
	return m, nil
}

// Get implements [Store]. Cost: one look-up per key until the first hit. A session of one
// explicit id is found without an allocation, and without a lock or under a read lock of its
// shard.
func (m *Memory) Get(_ context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error) {
	t := &m.sessions
	if t.closed.Load() {
		return Binding{}, false, ErrClosed
	}
	if keys.IsZero() {
		return Binding{}, false, nil
	}
	if !scope.fits() {
		scope = scope.Short()
	}
	if ok, done := t.quick(&b, &scope, &keys, true); done {
		return b, ok, nil
	}
	return t.getOrBind(&scope, &keys, "")
}

// Peek implements [Store].
func (m *Memory) Peek(_ context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error) {
	t := &m.sessions
	if t.closed.Load() {
		return Binding{}, false, ErrClosed
	}
	if keys.IsZero() {
		return Binding{}, false, nil
	}
	if !scope.fits() {
		scope = scope.Short()
	}
	if ok, done := t.quick(&b, &scope, &keys, false); done {
		return b, ok, nil
	}
	return t.peek(&scope, &keys)
}

// Bind implements [Store]. Cost: that of Get. In a full store another session is evicted,
// which may cost a look at up to 32 parts of the store.
func (m *Memory) Bind(_ context.Context, scope Scope, keys Keys, auth string) (Binding, bool, error) {
	if m.sessions.closed.Load() {
		return Binding{}, false, ErrClosed
	}
	if auth == "" || keys.IsZero() {
		return Binding{}, false, nil
	}
	if !scope.fits() {
		scope = scope.Short()
	}
	return m.sessions.getOrBind(&scope, &keys, auth)
}

// Move implements [Store].
func (m *Memory) Move(_ context.Context, b Binding, auth string) (now Binding, moved bool, err error) {
	if m.sessions.closed.Load() {
		return Binding{}, false, ErrClosed
	}
	if auth == "" {
		return Binding{}, false, nil
	}
	return m.sessions.move(&b, auth)
}

// Confirm implements [Store].
func (m *Memory) Confirm(_ context.Context, b Binding) (memo string, current bool, err error) {
	return m.sessions.touch(&b, true)
}

// Touch implements [Store].
func (m *Memory) Touch(_ context.Context, b Binding) (current bool, err error) {
	_, current, err = m.sessions.touch(&b, false)
	return current, err
}

// Amend implements [Store]. It keeps a copy of the memo.
func (m *Memory) Amend(_ context.Context, b Binding, memo string) (now Binding, amended bool, err error) {
	return m.sessions.amend(&b, memo)
}

// Unbind implements [Store].
func (m *Memory) Unbind(_ context.Context, b Binding) (unbound bool, err error) {
	return m.sessions.unbind(&b)
}

// Release implements [Store].
func (m *Memory) Release(_ context.Context, b Binding, failed bool) (unbound bool, err error) {
	return m.sessions.release(&b, failed)
}

// BindAnswer implements [Store].
func (m *Memory) BindAnswer(_ context.Context, b Binding, a Answer) (Answered, error) {
	return m.sessions.answer(&b, &a)
}

// Remember implements [Store].
func (m *Memory) Remember(_ context.Context, scope Scope, key Key, auth string) error {
	if m.notes.closed.Load() {
		return ErrClosed
	}
	if key == (Key{}) || auth == "" {
		return nil
	}
	if !scope.fits() {
		scope = scope.Short()
	}
	return m.notes.note(&scope, key, auth)
}

// Recall implements [Store].
func (m *Memory) Recall(_ context.Context, scope Scope, key Key) (auth string, ok bool, err error) {
	if !scope.fits() {
		scope = scope.Short()
	}
	return m.notes.recall(&scope, key)
}

// Close frees everything. After it, every operation that can return an error returns
// ErrClosed. Close may be called any number of times, also at once. It returns nil.
func (m *Memory) Close() error {
	m.sessions.close()
	m.notes.close()
	return nil
}
