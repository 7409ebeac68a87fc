package affinity

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Usage is what an answer has cost, in tokens, as the answer says. The zero Usage means that
// it does not say.
type Usage struct {
	// Prompt is the number of all tokens of the prompt, including those of the prompt cache.
	Prompt int
	// Cached is the part of Prompt that was read from the prompt cache.
	Cached int
	// CacheWritten is the part of Prompt that was written to the prompt cache, if the provider
	// says so: Anthropic does.
	CacheWritten int
	// Output is the number of tokens of the answer, including the model's reasoning.
	Output int
}

// IsZero reports whether nothing is known.
func (u Usage) IsZero() bool { return u == Usage{} }

// Report says how a request went.
type Report struct {
	// Result must be set: the zero Result is Unlisted, and Options.Unlisted of those in a row
	// move the session.
	Result Result
	// Away is for how long the auth has asked to be avoided, see Classify. 0 means that it has
	// not asked, and Options.Away is used. A time that the auth has asked for is always kept.
	// Options.Away is a guess, which is ignored when no other auth is left.
	Away time.Duration
	// FirstToken is how long the first token of the answer took, 0 if that is not known. It is
	// for Options.OnEvent only. For Options.Slow call Pick.FirstToken as soon as the token is
	// there, so that the next pick can use it.
	FirstToken time.Duration
	// Usage is what the answer has cost, as it says.
	Usage Usage
}

// Event is the pick of a request, or a report on it. Both have the same Decision. All of it is
// safe to log.
type Event struct {
	Decision Decision
	// Pool and Model are those of the request, as Options.Scope and Request say, and as LogName
	// returns them.
	Pool, Model string
	// Reported says that the event is a report, which is in Report. Otherwise it is a pick.
	Reported bool
	Report   Report
	// Again says that the pick was reported before, for example for a stream that began well
	// and then broke.
	Again bool

	at    cache.Key // where the store has the session
	found bool      // at is known
	where where     // of the request, for ExplainSession
}

// Clone returns the event with copies of its names, for a host that keeps it. Without the
// copies, the name of a model may keep the large body alive that it is a part of.
func (e Event) Clone() Event {
	w := &e.where
	w.model = strings.Clone(w.model)
	w.scope = cache.Scope{Tenant: strings.Clone(w.scope.Tenant), Pool: strings.Clone(w.scope.Pool), Model: strings.Clone(w.scope.Model)}
	e.Pool, e.Model = strings.Clone(e.Pool), strings.Clone(e.Model)
	return e
}

// LogName returns the name of a pool or a model as an [Event] has it, so that it is safe to log:
// a client can send any text as a model. A name of more than 128 bytes becomes "sha256:" and a
// digest. So does a name with characters other than letters and digits of any script, spaces
// (U+0020) and -._:/@+()[]#~*,.
func LogName(name string) string {
	if len(name) > longModel {
		name = cache.Scope{Model: name}.Short().Model
	}
	return plain(name)
}

// plain is LogName for names that are not long.
func plain(name string) string {
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c < utf8.RuneSelf && strings.IndexByte("-._:/@+ ()[]#~*,", byte(c)) >= 0:
		case c >= utf8.RuneSelf && c != utf8.RuneError && (unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c)):
		default:
			sum := sha256.Sum256([]byte(name))
			return "sha256:" + hex.EncodeToString(sum[:])
		}
	}
	return name // a long one is its digest already
}

// Locates reports whether the session can be found by the event, as Affinity.ExplainSession
// and SendAway need it. It is false for side requests and for sessions that are not known.
func (e Event) Locates() bool { return e.found }

// LogValue returns the decision's fields as a group, without the empty ones.
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

// String returns the decision as the value of a header: auth=…; outcome=…; reason=…; signal=…;
// session=…. The session is [Decision.SessionName].
func (d Decision) String() string {
	return "auth=" + d.Auth + "; outcome=" + d.Outcome.String() + "; reason=" + d.Reason.String() +
		"; signal=" + d.Signal.Kind.String() + "; session=" + d.SessionName(false)
}

// LogValue returns the event's fields as a group, without the empty ones.
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
