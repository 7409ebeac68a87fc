package cachetest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

type ctx = context.Context

// broken are stores with one fault each, and the check that finds the fault.
var broken = map[string]struct {
	by  string
	bad func(*cache.Memory, time.Duration) cache.Store
}{
	"last writer wins":            {"first-wins", func(m *cache.Memory, _ time.Duration) cache.Store { return &lastWriterWins{m} }},
	"racy bind":                   {"a-burst-ends-on-one-auth", func(m *cache.Memory, _ time.Duration) cache.Store { return &racyBind{Memory: m} }},
	"admission filter":            {"read-your-write", func(m *cache.Memory, _ time.Duration) cache.Store { return &choosy{Memory: m} }},
	"binds zero keys":             {"nothing-names-nothing", func(m *cache.Memory, _ time.Duration) cache.Store { return &bindsZero{m} }},
	"leaking tenant":              {"scopes-never-meet", func(m *cache.Memory, _ time.Duration) cache.Store { return &leakingTenant{m} }},
	"joined scope":                {"scopes-never-meet", func(m *cache.Memory, _ time.Duration) cache.Store { return &joinedScope{m} }},
	"cut names":                   {"long-names-are-told-apart", func(m *cache.Memory, _ time.Duration) cache.Store { return &cutNames{m} }},
	"short auths":                 {"long-names-are-told-apart", func(m *cache.Memory, _ time.Duration) cache.Store { return &shortAuths{m} }},
	"lost alias":                  {"aliases-lead-to-one-binding", func(m *cache.Memory, _ time.Duration) cache.Store { return &lostAlias{m} }},
	"deaf to new names":           {"aliases-are-learned", func(m *cache.Memory, _ time.Duration) cache.Store { return &deaf{m} }},
	"also as names":               {"also-merges-nobody", func(m *cache.Memory, _ time.Duration) cache.Store { return &alsoAsNames{m} }},
	"also steals names":           {"names-are-not-taken", func(m *cache.Memory, _ time.Duration) cache.Store { return &thief{m} }},
	"no fallbacks":                {"content-is-found-by-its-earlier-ends", func(m *cache.Memory, _ time.Duration) cache.Store { return &noFallbacks{m} }},
	"ends as names":               {"content-tells-a-retry-from-a-twin", func(m *cache.Memory, _ time.Duration) cache.Store { return &endsAsNames{m} }},
	"no also":                     {"content-is-found-by-also", func(m *cache.Memory, _ time.Duration) cache.Store { return &noAlso{m} }},
	"binds fallbacks":             {"fallbacks-are-not-bound", func(m *cache.Memory, _ time.Duration) cache.Store { return &bindsFallbacks{m} }},
	"forgets the first ends":      {"keys-are-bounded-and-enough", func(m *cache.Memory, _ time.Duration) cache.Store { return &latestOnly{Memory: m} }},
	"marks of openings":           {"marks-find-the-session", func(m *cache.Memory, _ time.Duration) cache.Store { return &marksOfOpenings{m} }},
	"marks are taken":             {"a-shared-mark-is-none", func(m *cache.Memory, _ time.Duration) cache.Store { return &takesMarks{m} }},
	"forgets what was answered":   {"answers-lead-to-their-session", func(m *cache.Memory, _ time.Duration) cache.Store { return &forgetsAnswered{m} }},
	"all answers are one's":       {"a-second-answer-is-a-twins", func(m *cache.Memory, _ time.Duration) cache.Store { return &oneAnswers{m} }},
	"never served":                {"no-third-takes-a-twin-along", func(m *cache.Memory, _ time.Duration) cache.Store { return &servesOnce{Memory: m} }},
	"move keeps the generation":   {"generations-are-new", func(m *cache.Memory, _ time.Duration) cache.Store { return &oneGeneration{m} }},
	"name by generation":          {"a-stable-name", func(m *cache.Memory, _ time.Duration) cache.Store { return &nameByGeneration{m} }},
	"any generation unbinds":      {"late-results-change-nothing", func(m *cache.Memory, _ time.Duration) cache.Store { return &anyGeneration{m} }},
	"every move wins":             {"one-move-wins", func(m *cache.Memory, _ time.Duration) cache.Store { return &everyMoveWins{m} }},
	"release forgets served":      {"provisional-until-served", func(m *cache.Memory, _ time.Duration) cache.Store { return &releaseAll{m} }},
	"any failed use unbinds":      {"one-failed-use-does-not-unbind", func(m *cache.Memory, _ time.Duration) cache.Store { return &oneFailure{m} }},
	"unbind removes":              {"a-session-outlives-its-auth", func(m *cache.Memory, _ time.Duration) cache.Store { return &unbindRemoves{remembering{Memory: m}} }},
	"confirms without an auth":    {"a-lost-auth-does-not-serve", func(m *cache.Memory, _ time.Duration) cache.Store { return &confirmsLost{m} }},
	"last memo wins":              {"memo-is-compare-and-set", func(m *cache.Memory, _ time.Duration) cache.Store { return &lastMemo{m} }},
	"move drops the memo":         {"memo-survives-moves", func(m *cache.Memory, _ time.Duration) cache.Store { return &dropsMemo{m} }},
	"served is used":              {"knows-when-it-was-served", func(m *cache.Memory, _ time.Duration) cache.Store { return &servedIsUsed{m} }},
	"idle after the use":          {"knows-how-long-it-was-idle", func(m *cache.Memory, _ time.Duration) cache.Store { return &neverIdle{m} }},
	"a use makes young":           {"knows-how-old-a-binding-is", func(m *cache.Memory, _ time.Duration) cache.Store { return &everYoung{m} }},
	"fixed expiry":                {"idle-expires-not-age", func(m *cache.Memory, ttl time.Duration) cache.Store { return &fixedExpiry{m, ttl, sync.Map{}} }},
	"aliases expire alone":        {"aliases-live-and-die-together", func(m *cache.Memory, ttl time.Duration) cache.Store { return &aliasesExpire{m, ttl, sync.Map{}} }},
	"peek touches":                {"peek-changes-nothing", func(m *cache.Memory, _ time.Duration) cache.Store { return &peekTouches{m} }},
	"resurrecting touch":          {"touch-does-not-resurrect", func(m *cache.Memory, _ time.Duration) cache.Store { return &resurrecting{remembering{Memory: m}} }},
	"first note wins":             {"notes-are-recalled", func(m *cache.Memory, _ time.Duration) cache.Store { return &firstNote{m} }},
	"notes as sessions":           {"notes-are-no-sessions", func(m *cache.Memory, _ time.Duration) cache.Store { return &notesAsSessions{m, "\x00owner"} }},
	"recall is no use":            {"notes-expire-when-idle", func(m *cache.Memory, ttl time.Duration) cache.Store { return &fixedNotes{m, ttl, sync.Map{}} }},
	"invalidates nothing":         {"invalidate-session", func(m *cache.Memory, _ time.Duration) cache.Store { return &invalidatesNothing{m} }},
	"invalidate removes":          {"invalidate-auth", func(m *cache.Memory, _ time.Duration) cache.Store { return &invalidateRemoves{m} }},
	"auth of all tenants":         {"invalidate-tenant", func(m *cache.Memory, _ time.Duration) cache.Store { return &allTenants{m} }},
	"rename is a move":            {"rename-auth", func(m *cache.Memory, _ time.Duration) cache.Store { return &renameMoves{m} }},
	"counts who has lost it":      {"count-auth", func(m *cache.Memory, _ time.Duration) cache.Store { return &countsLost{m} }},
	"counts all who have lost it": {"count-auths", func(m *cache.Memory, _ time.Duration) cache.Store { return &countsAllLost{m} }},
	"edits those that are bound":  {"edit-memos", func(m *cache.Memory, _ time.Duration) cache.Store { return &editsBound{m} }},
	"open after close":            {"closed", func(m *cache.Memory, _ time.Duration) cache.Store { return &neverCloses{m} }},
}

type lastWriterWins struct{ *cache.Memory }

func (s *lastWriterWins) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if _, err := s.InvalidateSession(c, sc, k); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Memory.Bind(c, sc, k, auth)
}

// racyBind lets the first two binds of a session both find it unbound.
type racyBind struct {
	*cache.Memory
	mu    sync.Mutex
	first map[cache.Key]bool
}

func (s *racyBind) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	s.mu.Lock()
	defer s.mu.Unlock()
	if existed && !s.first[k.Names[0]] {
		if s.first == nil {
			s.first = map[cache.Key]bool{}
		}
		s.first[k.Names[0]] = true
		b.Auth = auth
	}
	return b, existed, err
}

type choosy struct {
	*cache.Memory
	n atomic.Int64
}

func (s *choosy) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if s.n.Add(1)%100 == 0 {
		return cache.Binding{Auth: auth, Gen: 1}, false, nil
	}
	return s.Memory.Bind(c, sc, k, auth)
}

type bindsZero struct{ *cache.Memory }

func (s *bindsZero) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if k.IsZero() {
		k.End = cache.Key{1}
	}
	return s.Memory.Bind(c, sc, k, auth)
}

type leakingTenant struct{ *cache.Memory }

func (s *leakingTenant) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	sc.Tenant = ""
	return s.Memory.Bind(c, sc, k, auth)
}

func (s *leakingTenant) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	sc.Tenant = ""
	return s.Memory.Peek(c, sc, k)
}

type joinedScope struct{ *cache.Memory }

func joined(sc cache.Scope) cache.Scope {
	return cache.Scope{Tenant: fmt.Sprint(sc.Tenant, sc.Pool, sc.Model)}
}

func (s *joinedScope) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, joined(sc), k, auth)
}

func (s *joinedScope) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Peek(c, joined(sc), k)
}

// cutNames bounds names by cutting them.
type cutNames struct{ *cache.Memory }

func cut(name string) string { return name[:min(len(name), 128)] }

func (s *cutNames) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, cache.Scope{Tenant: cut(sc.Tenant), Pool: cut(sc.Pool), Model: cut(sc.Model)}, k, auth)
}

type shortAuths struct{ *cache.Memory }

func (s *shortAuths) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, sc, k, cache.Scope{Pool: auth}.Short().Pool)
}

type lostAlias struct{ *cache.Memory }

func (s *lostAlias) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	k.Names = [cache.MaxNames]cache.Key{k.Names[0]}
	return s.Memory.Bind(c, sc, k, auth)
}

type deaf struct{ *cache.Memory }

func (s *deaf) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Memory.Peek(c, sc, k)
	if ok {
		_, err = s.Memory.Touch(c, b)
	}
	return b, ok, err
}

type alsoAsNames struct{ *cache.Memory }

func strong(k cache.Keys) cache.Keys {
	if k.Also[0] != (cache.Key{}) {
		k.Names = [cache.MaxNames]cache.Key{k.Also[0], k.Names[0], k.Names[1]}
	}
	return k
}

func (s *alsoAsNames) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, sc, strong(k), auth)
}

func (s *alsoAsNames) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Get(c, sc, strong(k))
}

func (s *alsoAsNames) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Peek(c, sc, strong(k))
}

// thief gives a session its Also keys by taking them from the sessions that have them.
type thief struct{ *cache.Memory }

func (s *thief) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	for _, a := range k.Also {
		if _, err := s.InvalidateSession(c, sc, cache.Keys{Names: [cache.MaxNames]cache.Key{a}}); err != nil {
			return cache.Binding{}, false, err
		}
	}
	return s.Memory.Bind(c, sc, k, auth)
}

type noFallbacks struct{ *cache.Memory }

func (s *noFallbacks) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	k.Fallbacks = nil
	return s.Memory.Get(c, sc, k)
}

type endsAsNames struct{ *cache.Memory }

func byEnd(k cache.Keys) cache.Keys {
	if k.End != (cache.Key{}) {
		k.Names[0] = k.End
		for i, e := range k.Fallbacks {
			if i+1 < len(k.Names) {
				k.Names[i+1] = e
			}
		}
	}
	return k
}

func (s *endsAsNames) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, sc, byEnd(k), auth)
}

func (s *endsAsNames) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Get(c, sc, byEnd(k))
}

func (s *endsAsNames) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Peek(c, sc, byEnd(k))
}

type noAlso struct{ *cache.Memory }

func (s *noAlso) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	k.Also = [cache.MaxAlso]cache.Key{}
	return s.Memory.Bind(c, sc, k, auth)
}

type bindsFallbacks struct{ *cache.Memory }

func (s *bindsFallbacks) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if len(k.Fallbacks) > 0 {
		k.Also[1] = k.Fallbacks[0]
	}
	return s.Memory.Bind(c, sc, k, auth)
}

// marksOfOpenings binds all marks.
type marksOfOpenings struct{ *cache.Memory }

func (s *marksOfOpenings) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	k.Ongoing = true
	return s.Memory.Bind(c, sc, k, auth)
}

// takesMarks gives a mark to the latest session that came with it.
type takesMarks struct{ *cache.Memory }

func (s *takesMarks) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	k.Also[1], k.Also[2] = k.Marks[0], k.Marks[1]
	k.Marks = [cache.MaxMarks]cache.Key{}
	return s.Memory.Get(c, sc, k)
}

// forgetsAnswered does not know which ends were answered.
type forgetsAnswered struct{ *cache.Memory }

func (s *forgetsAnswered) BindAnswer(c ctx, b cache.Binding, a cache.Answer) (cache.Answered, error) {
	b.Opening, a.End = false, cache.Key{}
	return s.Memory.BindAnswer(c, b, a)
}

// oneAnswers gives all answers to the session of the first.
type oneAnswers struct{ *cache.Memory }

func (s *oneAnswers) BindAnswer(c ctx, b cache.Binding, a cache.Answer) (cache.Answered, error) {
	b.Opening = false
	return s.Memory.BindAnswer(c, b, a)
}

// servesOnce does not count how often a session was served.
type servesOnce struct {
	*cache.Memory
	served sync.Map
}

func (s *servesOnce) Confirm(c ctx, b cache.Binding) (string, bool, error) {
	if _, again := s.served.LoadOrStore(b.Session, true); again {
		ok, err := s.Memory.Touch(c, b)
		return b.Memo, ok, err
	}
	return s.Memory.Confirm(c, b)
}

// latestOnly knows the first End of a session for its first ten uses.
type latestOnly struct {
	*cache.Memory
	n atomic.Int64
}

func (s *latestOnly) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if k.End != (cache.Key{}) && s.n.Add(1) < 10 {
		k.End = cache.Key{}
	}
	return s.Memory.Get(c, sc, k)
}

type oneGeneration struct{ *cache.Memory }

func (s *oneGeneration) Move(c ctx, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, moved, err := s.Memory.Move(c, b, auth)
	now.Gen = b.Gen
	return now, moved, err
}

type nameByGeneration struct{ *cache.Memory }

func (s *nameByGeneration) Move(c ctx, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, moved, err := s.Memory.Move(c, b, auth)
	now.Session[0] ^= byte(now.Gen)
	return now, moved, err
}

type anyGeneration struct{ *cache.Memory }

func (s *anyGeneration) Unbind(c ctx, b cache.Binding) (bool, error) {
	now, _, err := s.Amend(c, b, b.Memo)
	if err != nil {
		return false, err
	}
	return s.Memory.Unbind(c, now)
}

type everyMoveWins struct{ *cache.Memory }

func (s *everyMoveWins) Move(c ctx, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, moved, err := s.Memory.Move(c, b, auth)
	if err == nil && !moved && now.Gen != 0 {
		return s.Memory.Move(c, now, auth)
	}
	return now, moved, err
}

type releaseAll struct{ *cache.Memory }

func (s *releaseAll) Release(c ctx, b cache.Binding, failed bool) (bool, error) {
	if unbound, err := s.Memory.Release(c, b, failed); unbound || err != nil || !failed {
		return unbound, err
	}
	now, _, err := s.Amend(c, b, b.Memo)
	if err != nil || now.Gen != b.Gen || !now.Served {
		return false, err
	}
	return s.Memory.Unbind(c, b)
}

// oneFailure does not count the uses.
type oneFailure struct{ *cache.Memory }

func (s *oneFailure) Release(c ctx, b cache.Binding, failed bool) (bool, error) {
	for range 10 {
		if unbound, err := s.Memory.Release(c, b, failed); unbound || err != nil {
			return unbound, err
		}
	}
	return false, nil
}

type unbindRemoves struct{ remembering }

func (s *unbindRemoves) Unbind(c ctx, b cache.Binding) (bool, error) {
	unbound, err := s.Memory.Unbind(c, b)
	if p, ok := s.pair(b); ok && unbound && err == nil {
		_, err = s.InvalidateSession(c, p.scope, p.keys)
	}
	return unbound, err
}

type confirmsLost struct{ *cache.Memory }

func (s *confirmsLost) Confirm(c ctx, b cache.Binding) (string, bool, error) {
	memo, current, err := s.Memory.Confirm(c, b)
	if !current && err == nil {
		current, err = s.Touch(c, b)
	}
	return memo, current, err
}

type lastMemo struct{ *cache.Memory }

func (s *lastMemo) Amend(c ctx, b cache.Binding, memo string) (cache.Binding, bool, error) {
	now, amended, err := s.Memory.Amend(c, b, memo)
	if err == nil && !amended && now.Gen == b.Gen {
		return s.Memory.Amend(c, now, memo)
	}
	return now, amended, err
}

type dropsMemo struct{ *cache.Memory }

func (s *dropsMemo) Move(c ctx, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, moved, err := s.Memory.Move(c, b, auth)
	if err == nil && moved {
		now, _, err = s.Amend(c, now, "")
	}
	return now, moved, err
}

type servedIsUsed struct{ *cache.Memory }

func (s *servedIsUsed) Touch(c ctx, b cache.Binding) (bool, error) {
	_, current, err := s.Confirm(c, b)
	return current, err
}

type neverIdle struct{ *cache.Memory }

func (s *neverIdle) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Memory.Get(c, sc, k)
	b.Idle = 0
	return b, ok, err
}

type everYoung struct{ *cache.Memory }

func (s *everYoung) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Memory.Get(c, sc, k)
	b.Age = b.Idle
	return b, ok, err
}

type fixedExpiry struct {
	*cache.Memory
	ttl  time.Duration
	born sync.Map // session -> time
}

func (s *fixedExpiry) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	if !existed {
		s.born.Store(b.Session, time.Now())
	}
	return b, existed, err
}

func (s *fixedExpiry) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Memory.Peek(c, sc, k)
	if born, known := s.born.Load(b.Session); known && time.Since(born.(time.Time)) > s.ttl {
		_, err = s.InvalidateSession(c, sc, k)
		return cache.Binding{}, false, err
	}
	return b, ok, err
}

// aliasesExpire keeps a time for each name, not for the session.
type aliasesExpire struct {
	*cache.Memory
	ttl  time.Duration
	used sync.Map // key -> time
}

func (s *aliasesExpire) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	for _, n := range k.Names {
		s.used.Store(n, time.Now())
	}
	return s.Memory.Bind(c, sc, k, auth)
}

func (s *aliasesExpire) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	for _, n := range k.Names {
		s.used.Store(n, time.Now())
	}
	return s.Memory.Get(c, sc, k)
}

func (s *aliasesExpire) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if used, ok := s.used.Load(k.Names[0]); ok && time.Since(used.(time.Time)) > s.ttl {
		return cache.Binding{}, false, nil
	}
	return s.Memory.Peek(c, sc, k)
}

type peekTouches struct{ *cache.Memory }

func (s *peekTouches) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Get(c, sc, k)
}

type resurrecting struct{ remembering }

func (s *resurrecting) Confirm(c ctx, b cache.Binding) (string, bool, error) {
	memo, current, err := s.Memory.Confirm(c, b)
	if p, ok := s.pair(b); ok && !current && err == nil {
		_, _, err = s.Memory.Bind(c, p.scope, p.keys, b.Auth)
		return memo, true, err
	}
	return memo, current, err
}

type firstNote struct{ *cache.Memory }

func (s *firstNote) Remember(c ctx, sc cache.Scope, k cache.Key, auth string) error {
	if _, ok, err := s.Recall(c, sc, k); ok || err != nil {
		return err
	}
	return s.Memory.Remember(c, sc, k, auth)
}

// notesAsSessions keeps notes as sessions of a model that it hopes nobody has.
type notesAsSessions struct {
	*cache.Memory
	model string
}

func (s *notesAsSessions) Remember(c ctx, sc cache.Scope, k cache.Key, auth string) error {
	sc.Model = s.model
	_, _, err := s.Bind(c, sc, cache.Keys{Names: [cache.MaxNames]cache.Key{k}}, auth)
	return err
}

func (s *notesAsSessions) Recall(c ctx, sc cache.Scope, k cache.Key) (string, bool, error) {
	sc.Model = s.model
	b, ok, err := s.Get(c, sc, cache.Keys{Names: [cache.MaxNames]cache.Key{k}})
	return b.Auth, ok, err
}

type fixedNotes struct {
	*cache.Memory
	ttl   time.Duration
	noted sync.Map // key -> time
}

func (s *fixedNotes) Remember(c ctx, sc cache.Scope, k cache.Key, auth string) error {
	s.noted.Store(k, time.Now())
	return s.Memory.Remember(c, sc, k, auth)
}

func (s *fixedNotes) Recall(c ctx, sc cache.Scope, k cache.Key) (string, bool, error) {
	if noted, ok := s.noted.Load(k); ok && time.Since(noted.(time.Time)) > s.ttl {
		return "", false, nil
	}
	return s.Memory.Recall(c, sc, k)
}

type invalidatesNothing struct{ *cache.Memory }

func (s *invalidatesNothing) InvalidateSession(c ctx, sc cache.Scope, k cache.Keys) (bool, error) {
	_, ok, err := s.Peek(c, sc, k)
	return ok, err
}

// invalidateRemoves removes the sessions with their auth.
type invalidateRemoves struct{ *cache.Memory }

func (s *invalidateRemoves) InvalidateAuth(c ctx, auth string) (int, error) {
	n, err := s.Memory.InvalidateAuth(c, auth)
	if n > 0 && err == nil {
		for i := range 30 {
			k := cache.Keys{}
			copy(k.Names[0][:], fmt.Sprint("s", i))
			for sc, b := range s.All() {
				if got, ok, _ := s.Peek(c, sc, k); ok && got.Session == b.Session && b.Lost != 0 {
					_, err = s.InvalidateSession(c, sc, k)
				}
			}
		}
	}
	return n, err
}

type allTenants struct{ *cache.Memory }

func (s *allTenants) InvalidateTenant(c ctx, _, auth string) (int, error) {
	return s.InvalidateAuth(c, auth)
}

type renameMoves struct{ *cache.Memory }

func (s *renameMoves) RenameAuth(c ctx, from, to string) (n int, err error) {
	for _, b := range s.OfAuth(from) {
		_, moved, err := s.Move(c, b, to)
		if err != nil {
			return n, err
		}
		if moved {
			n++
		}
	}
	return n, nil
}

type countsLost struct{ *cache.Memory }

func (s *countsLost) CountAuth(_ ctx, auth string) (n int, err error) {
	for _, b := range s.All() {
		if b.Auth == auth {
			n++
		}
	}
	return n, nil
}

type countsAllLost struct{ *cache.Memory }

func (s *countsAllLost) CountAuths(ctx) (map[string]int, error) {
	bound := map[string]int{}
	for _, b := range s.All() {
		bound[b.Auth]++
	}
	return bound, nil
}

type editsBound struct{ *cache.Memory }

func (s *editsBound) EditMemos(c ctx, edit func(cache.Binding) string) error {
	for _, b := range s.All() {
		if !b.Bound() || b.Memo == "" {
			continue
		}
		if _, _, err := s.Amend(c, b, edit(b)); err != nil {
			return err
		}
	}
	return nil
}

type neverCloses struct{ *cache.Memory }

func (s *neverCloses) Close() error { return nil }
