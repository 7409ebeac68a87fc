package affinity

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Usage is what an answer says that it has cost, in tokens. The zero Usage says nothing.
type Usage struct {
	// Prompt are all tokens of the prompt, those of the prompt cache included.
	Prompt int
	// Cached are those of Prompt that were read from the prompt cache.
	Cached int
	// CacheWritten are those of Prompt that were written to it, where the provider says
	// so: Anthropic does.
	CacheWritten int
	// Output are the tokens of the answer, with what the model has thought.
	Output int
}

// IsZero reports whether nothing is known.
func (u Usage) IsZero() bool { return u == Usage{} }

// Report is how a request went.
type Report struct {
	Result Result
	// Away is for how long the auth wants to be left alone, see Classify. With 0 it has
	// not said, and Options.Away counts. What the auth itself says holds; Options.Away is a
	// guess, which ends when no other auth is left.
	Away time.Duration
	// FirstToken is how long it took to the first token of the answer, 0 if nobody knows.
	// It is for Options.OnEvent alone. What Options.Slow knows is what Pick.FirstToken says,
	// as soon as it is known, so that the next pick can count with it.
	FirstToken time.Duration
	// Usage is what the answer says that it has cost.
	Usage Usage
}

// Event is one half of a request: its pick, or how it went. Both have the same Decision.
// All of it is safe to log.
type Event struct {
	Decision Decision
	// Pool and Model are the request's, as Options.Scope and Request say. One that is long,
	// or has other characters than such names have, is "sha256:" and a digest: clients can
	// send any text.
	Pool, Model string
	// Reported says that this is how the request went, which Report says. Otherwise it is
	// the pick.
	Reported bool
	Report   Report
	// Again says that the pick was reported before: a stream that began well, and broke.
	Again bool

	at    cache.Key // where the store has the session
	found bool      // at is known
	where where     // as the request has said, for ExplainSession
}

// Clone is the event with names of its own, for whoever keeps it: the name of a model may be
// a small part of a large body, which would be kept with it.
func (e Event) Clone() Event {
	w := &e.where
	w.model = strings.Clone(w.model)
	w.scope = cache.Scope{Tenant: strings.Clone(w.scope.Tenant), Pool: strings.Clone(w.scope.Pool), Model: strings.Clone(w.scope.Model)}
	e.Pool, e.Model = strings.Clone(e.Pool), strings.Clone(e.Model)
	return e
}

// plain is the name of a pool or a model as an Event has it.
func plain(name string) string {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._:/@+ ", c) >= 0:
		default:
			sum := sha256.Sum256([]byte(name))
			return "sha256:" + hex.EncodeToString(sum[:])
		}
	}
	return name // a long one is its digest already
}

// Locates reports whether the event says where the store has the session, as
// Affinity.ExplainSession and SendAway need it. Those of side requests and of sessions that
// are not known do not.
func (e Event) Locates() bool { return e.found }

// LogValue groups the decision's parts, those that say something.
func (d Decision) LogValue() slog.Value {
	all := append(make([]slog.Attr, 0, 10), slog.String("outcome", d.Outcome.String()))
	text := func(name, value string) {
		if value != "" {
			all = append(all, slog.String(name, value))
		}
	}
	text("reason", d.Reason.String())
	text("signal", d.Signal.Name)
	text("auth", d.Auth)
	text("before", d.Before)
	text("session", d.SessionName(false))
	if d.Age != 0 {
		all = append(all, slog.Duration("age", d.Age), slog.Duration("idle", d.Idle))
	}
	all = append(all, slog.Int("candidates", d.Candidates))
	if d.LostHistory {
		text("lost", d.Past.String())
	}
	return slog.GroupValue(all...)
}

// String is the decision as the value of a header: auth=…; outcome=…; reason=…; signal=…;
// session=…. The session is its stable name.
func (d Decision) String() string {
	return "auth=" + d.Auth + "; outcome=" + d.Outcome.String() + "; reason=" + d.Reason.String() +
		"; signal=" + d.Signal.Kind.String() + "; session=" + d.SessionName(false)
}

// LogValue groups the event's parts, those that say something.
func (e Event) LogValue() slog.Value {
	all := e.Decision.LogValue().Group()
	for _, s := range [...]struct{ name, value string }{{"pool", e.Pool}, {"model", e.Model}} {
		if s.value != "" {
			all = append(all, slog.String(s.name, s.value))
		}
	}
	if !e.Reported {
		return slog.GroupValue(all...)
	}
	r := &e.Report
	all = append(all, slog.String("result", r.Result.String()))
	for _, d := range [...]struct {
		name  string
		value time.Duration
	}{{"away", r.Away}, {"first_token", r.FirstToken}} {
		if d.value != 0 {
			all = append(all, slog.Duration(d.name, d.value))
		}
	}
	if !r.Usage.IsZero() {
		all = append(all, slog.Int("prompt", r.Usage.Prompt), slog.Int("cached", r.Usage.Cached),
			slog.Int("cache_written", r.Usage.CacheWritten), slog.Int("output", r.Usage.Output))
	}
	if e.Again {
		all = append(all, slog.Bool("again", true))
	}
	return slog.GroupValue(all...)
}
