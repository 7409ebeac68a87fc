package affinityadmin

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"math"
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// The content of the page and of its JSON.

type overviewView struct {
	Notice string `json:"-"`
	Write  bool   `json:"write"`

	Picks      uint64  `json:"picks"`
	Sessions   *int    `json:"sessions,omitempty"` // nil if they cannot be counted
	HitShare   float64 `json:"hit_share"`          // of the picks that have a session
	Unnamed    uint64  `json:"without_session"`
	Unreported uint64  `json:"unreported"`
	Failed     uint64  `json:"store_failures"`

	Outcomes []count `json:"outcomes"`
	Reasons  []count `json:"reasons"`
	Results  []count `json:"results"`
	Signals  []count `json:"signals"`
	Lost     []count `json:"lost_histories"`
	Removed  []count `json:"removed"`

	Auths   []authView    `json:"auths"`
	Flying  bool          `json:"-"` // the number of requests in flight is known
	Savings *savingsView  `json:"savings,omitempty"`
	Hour    []minuteView  `json:"hour,omitempty"`
	Chart   template.HTML `json:"-"`
	Most    uint64        `json:"-"` // picks of a minute
	Recent  []eventView   `json:"recent,omitempty"`
}

type count struct {
	Name string `json:"name"`
	N    uint64 `json:"n"`
}

// counts returns those that are not zero, the largest first.
func counts[N ~uint8](all []uint64, name func(N) string) (some []count) {
	for i, n := range all {
		if n > 0 {
			some = append(some, count{name(N(i)), n})
		}
	}
	slices.SortStableFunc(some, func(a, b count) int { return cmp.Compare(b.N, a.N) })
	return some
}

type authView struct {
	candidateView
	Sessions *int `json:"sessions,omitempty"` // nil if they cannot be counted
	InFlight *int `json:"in_flight,omitempty"`

	Prompt   uint64  `json:"prompt_tokens"`
	Share    float64 `json:"cached_share"`
	Expected uint64  `json:"cache_expected"`
	Missed   uint64  `json:"cache_missed"`
	Warm     string  `json:"cache_warm,omitempty"` // as far as it was seen

	Warnings []string `json:"warnings,omitempty"`
}

type savingsView struct {
	Prompt       uint64       `json:"prompt_tokens"`
	Cached       uint64       `json:"cached_tokens"`
	Share        float64      `json:"cached_share"`
	ShareWithout float64      `json:"cached_share_without"`
	Cost         float64      `json:"cost"`
	CostWithout  float64      `json:"cost_without"`
	Outcomes     []tokensView `json:"outcomes"`
}

// SavedTokens returns the tokens that came from a cache only because of affinity.
func (s *savingsView) SavedTokens() float64 {
	return (s.Share - s.ShareWithout) * float64(s.Prompt)
}

// SavedCost returns the cost that was saved.
func (s *savingsView) SavedCost() float64 { return s.CostWithout - s.Cost }

type tokensView struct {
	Outcome  string  `json:"outcome"`
	Requests uint64  `json:"requests"`
	Prompt   uint64  `json:"prompt_tokens"`
	Cached   uint64  `json:"cached_tokens"`
	Output   uint64  `json:"output_tokens"`
	Share    float64 `json:"cached_share"`
}

type minuteView struct {
	At    time.Time `json:"at"`
	Picks []count   `json:"picks"`
}

type eventView struct {
	At         time.Time `json:"at"`
	Session    string    `json:"session"`
	Reported   bool      `json:"reported"`
	Outcome    string    `json:"outcome"`
	Reason     string    `json:"reason,omitempty"`
	Signal     string    `json:"signal"`
	Auth       string    `json:"auth,omitempty"`
	Before     string    `json:"before,omitempty"`
	Age        float64   `json:"age_seconds,omitempty"`
	Idle       float64   `json:"idle_seconds,omitempty"`
	Candidates int       `json:"candidates"`
	Result     string    `json:"result,omitempty"`
	FirstToken float64   `json:"first_token_seconds,omitempty"`
	Prompt     int       `json:"prompt_tokens,omitempty"`
	Cached     int       `json:"cached_tokens,omitempty"`
}

func eventOf(e entry) eventView {
	d, r := &e.event.Decision, &e.event.Report
	v := eventView{
		At: e.at, Session: d.SessionName(false), Reported: e.event.Reported, Outcome: d.Outcome.String(), Reason: d.Reason.String(),
		Signal: d.Signal.Kind.String(), Auth: d.Auth, Before: d.Before,
		Age: d.Age.Seconds(), Idle: d.Idle.Seconds(), Candidates: d.Candidates,
	}
	if e.event.Reported {
		v.Result, v.FirstToken, v.Prompt, v.Cached = r.Result.String(), r.FirstToken.Seconds(), r.Usage.Prompt, r.Usage.Cached
	}
	return v
}

type sessionView struct {
	Name   string           `json:"session"`
	Write  bool             `json:"write"`
	Notice string           `json:"-"`
	Now    *explanationView `json:"now,omitempty"`
	Events []eventView      `json:"events,omitempty"`
}

type requestView struct {
	Request string           `json:"-"`
	Error   string           `json:"error,omitempty"`
	Now     *explanationView `json:"now,omitempty"`
}

type explanationView struct {
	Outcome    string          `json:"outcome"`
	Reason     string          `json:"reason,omitempty"`
	Signal     string          `json:"signal"`
	Session    string          `json:"session,omitempty"`
	Auth       string          `json:"auth,omitempty"` // empty if the balancer would choose
	Bound      string          `json:"bound,omitempty"`
	Served     bool            `json:"served"`
	Since      float64         `json:"since_served_seconds,omitempty"`
	Detour     string          `json:"detour,omitempty"`
	Error      string          `json:"error,omitempty"`
	Candidates []candidateView `json:"candidates"`
}

type candidateView struct {
	Name     string     `json:"name"`
	State    string     `json:"state"`
	Until    *time.Time `json:"until,omitempty"`
	Tier     int        `json:"tier"`
	Load     float64    `json:"load"`
	Drained  bool       `json:"drained"`
	Slow     bool       `json:"slow"`
	Left     *time.Time `json:"left_until,omitempty"`
	MayServe bool       `json:"may_serve"`
	Place    bool       `json:"place"`
}

func explanationOf(x affinity.Explanation) *explanationView {
	v := &explanationView{
		Outcome: x.Decision.Outcome.String(), Reason: x.Decision.Reason.String(), Signal: x.Decision.Signal.Kind.String(),
		Session: x.Decision.SessionName(false), Auth: x.Decision.Auth, Bound: x.Bound, Served: x.Served, Since: x.SinceServed.Seconds(), Detour: x.Detour,
	}
	if x.Err != nil {
		v.Error = x.Err.Error()
	}
	for _, c := range x.Candidates {
		v.Candidates = append(v.Candidates, candidateOf(c))
	}
	return v
}

func candidateOf(c affinity.Candidate) candidateView {
	return candidateView{c.Name, c.State.Fitness.String(), moment(c.State.Until), c.State.Tier, c.State.Load, c.Drained, c.Slow, moment(c.LeftUntil), c.MayServe, c.Place}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() || t.Year() > 9999 { // that means never, and JSON has no such time
		return nil
	}
	return &t
}

// view returns the overview.
func (p *Page[T]) view(ctx context.Context, notice string) overviewView {
	s := p.from.Stats()
	v := overviewView{
		Notice: notice, Write: p.o.Write, Picks: s.Total(), Unnamed: s.Signal(sessionid.KindNone), Unreported: s.Unreported(), Failed: s.StoreFailed,
		Reasons: counts(s.Reasons[:], affinity.Reason.String), Results: counts(s.Results[:], affinity.Result.String),
		Lost: counts(s.Lost[:], sessionid.Past.String), Removed: counts(s.Removed[:], cache.Cause.String),
	}
	outcomes, signals := make([]uint64, len(s.Picks)), make([]uint64, len(s.Picks[0]))
	for o := range s.Picks {
		for k, n := range s.Picks[o] {
			outcomes[o] += n
			signals[k] += n
		}
	}
	v.Outcomes, v.Signals = counts(outcomes, affinity.Outcome.String), counts(signals, sessionid.Kind.String)
	if named := v.Picks - v.Unnamed; named > 0 {
		v.HitShare = float64(s.Outcome(affinity.OutcomeHit)) / float64(named)
	}
	var saved savings.Snapshot
	if p.o.Savings != nil {
		saved = p.o.Savings.Snapshot()
		v.Savings = savingsOf(&saved)
	}
	v.Auths, v.Flying = p.auths(ctx, &saved), p.o.InFlight != nil
	sum := 0
	for _, a := range v.Auths {
		if a.Sessions != nil {
			sum += *a.Sessions
			v.Sessions = &sum
		}
	}
	if p.o.Log != nil {
		hour := p.o.Log.lately()
		for _, m := range hour {
			v.Hour = append(v.Hour, minuteView{time.Unix(m.number*60, 0).UTC(), counts(m.picks[:], affinity.Outcome.String)})
		}
		v.Chart, v.Most = chart(hour[:])
		for _, e := range p.o.Log.latest() {
			v.Recent = append(v.Recent, eventOf(e))
		}
	}
	return v
}

// patience is how long the page waits for a store that counts its sessions.
const patience = time.Second

// auths returns all auths of the host, and other auths that still have sessions.
func (p *Page[T]) auths(ctx context.Context, saved *savings.Snapshot) (all []authView) {
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	bound, err := p.from.Sessions(soon)
	x := p.from.Explain(ctx, affinity.Request{}, p.o.Auths())
	seen := map[string]bool{}
	for _, c := range x.Candidates {
		seen[c.Name] = true
		v := p.authOf(candidateOf(c), saved)
		if n := bound[c.Name]; err == nil {
			v.Sessions = &n
		}
		all = append(all, v)
	}
	gone := len(all)
	for name, n := range bound {
		if !seen[name] {
			v := p.authOf(candidateView{Name: name, State: "gone"}, saved)
			v.Sessions = &n
			all = append(all, v)
		}
	}
	slices.SortFunc(all[gone:], func(a, b authView) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// leastExpected is how many requests are needed to say that a cache is not there.
const leastExpected = 20

func (p *Page[T]) authOf(c candidateView, saved *savings.Snapshot) authView {
	v := authView{candidateView: c}
	if p.o.InFlight != nil {
		n := p.o.InFlight(c.Name)
		v.InFlight = &n
	}
	a, ok := saved.Auths[c.Name]
	if !ok {
		return v
	}
	v.Prompt, v.Share, v.Expected, v.Missed = a.Prompt, a.Share(), a.Expected, a.Missed
	if warm, ok := a.Warm(); ok {
		v.Warm = warm.String()
	}
	if a.Expected >= leastExpected && 2*a.Missed > a.Expected {
		v.Warnings = append(v.Warnings, fmt.Sprintf("No prompt cache: %d of %d requests that should have found the beginning of their conversation there found nothing.", a.Missed, a.Expected))
	} else if warm, ok := p.o.Savings.Warm(c.Name); ok && warm < saved.Warm {
		v.Warnings = append(v.Warnings, fmt.Sprintf("The prompt cache lives for at most %v, but %v was assumed.", warm, saved.Warm))
	}
	return v
}

// finite returns 0 for a value that the operator's prices have made infinite or NaN.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

func savingsOf(s *savings.Snapshot) *savingsView {
	t := s.Total()
	v := &savingsView{Prompt: t.Prompt, Cached: t.Cached, Share: t.Share(), ShareWithout: s.ShareWithout(), Cost: finite(s.Cost), CostWithout: finite(s.CostWithout)}
	for o, t := range s.Outcomes {
		if t.Requests > 0 {
			v.Outcomes = append(v.Outcomes, tokensView{affinity.Outcome(o).String(), t.Requests, t.Prompt, t.Cached, t.Output, t.Share()})
		}
	}
	return v
}
