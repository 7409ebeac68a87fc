package affinityadmin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityadmin"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/selector"
)

var auths = []string{"A", "B", "C"}

// site is a Page and its Affinity.
type site struct {
	t *testing.T
	*affinity.Selector[string]
	log   *affinityadmin.Log
	meter *savings.Meter
	page  *affinityadmin.Page[string]
	state map[string]affinity.State
}

func open(t *testing.T, o affinityadmin.Options[string]) *site {
	t.Helper()
	s := &site{t: t, log: affinityadmin.NewLog(100), state: map[string]affinity.State{}}
	var err error
	s.meter, err = savings.New(&savings.Options{Prices: func(string, string) savings.Prices { return savings.Prices{Prompt: 3, Cached: 0.3} }})
	require.NoError(t, err)
	s.Selector, err = affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{
		State:   func(a string, _ affinity.Request) affinity.State { return s.state[a] },
		OnEvent: func(ctx context.Context, e affinity.Event) { s.log.Observe(ctx, e); s.meter.Observe(ctx, e) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	o.InFlight = func(auth string) int { return int(auth[0]) }
	o.Auths, o.Log, o.Savings = func() []string { return auths }, s.log, s.meter
	s.page, err = affinityadmin.New(s, &o)
	require.NoError(t, err)
	return s
}

func session(id string) affinity.Request {
	return affinity.Request{Header: http.Header{"X-Session-Id": {id}}}
}

func (s *site) serve(r affinity.Request, u affinity.Usage) affinity.Decision {
	s.t.Helper()
	p, err := s.Pick(s.t.Context(), r, auths)
	require.NoError(s.t, err)
	p.Done(affinity.Report{Result: affinity.Served, Usage: u})
	return p.Decision
}

// ask asks the page, as a browser or, with JSON, as a program.
func (s *site) ask(method, target string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	s.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, "http://localhost/admin/"+target, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, do := range change {
		do(r)
	}
	w := httptest.NewRecorder()
	s.page.ServeHTTP(w, r)
	return w
}

func asJSON(r *http.Request) { r.Header.Set("Accept", "application/json") }

func fields(t *testing.T, w *httptest.ResponseRecorder) (all map[string]any) {
	t.Helper()
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all), w.Body)
	return all
}

// The overview says the same to a browser and to a program.
func TestTheOverviewSaysWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, affinityadmin.Options[string]{})
		for turn := range 30 {
			u := affinity.Usage{Prompt: 10_000 + turn, Output: 10}
			if turn > 0 {
				u.Cached = 9_000
			}
			s.serve(session("one"), u)
			time.Sleep(30 * time.Second)
		}
		s.serve(affinity.Request{}, affinity.Usage{})
		_, err := s.Pick(t.Context(), session("two"), auths) // and nobody reports
		require.NoError(t, err)
		s.state["C"] = affinity.State{Fitness: affinity.Away, Until: time.Now().Add(time.Hour), Tier: 2, Load: 1.5}
		s.Drain("B", true)

		all := fields(t, s.ask("GET", "", nil, asJSON))
		require.EqualValues(t, 32, all["picks"])
		require.EqualValues(t, 1, all["unreported"])
		require.EqualValues(t, 1, all["without_session"])
		require.EqualValues(t, 2, all["sessions"])
		require.InDelta(t, 29.0/31, all["hit_share"], 1e-9)
		require.InDelta(t, 261_000.0/300_435, all["savings"].(map[string]any)["cached_share"], 1e-9)
		list := all["auths"].([]any)
		require.Len(t, list, 3)
		b, c := list[1].(map[string]any), list[2].(map[string]any)
		require.Equal(t, []any{"B", true, "fit"}, []any{b["name"], b["drained"], b["state"]})
		require.Equal(t, []any{"C", "away", 2.0, 1.5}, []any{c["name"], c["state"], c["tier"], c["load"]})
		require.NotEmpty(t, c["until"])
		require.EqualValues(t, 'C', c["in_flight"])
		hour := all["hour"].([]any)
		require.Len(t, hour, 60)
		sum := 0.0
		for _, m := range hour {
			if picks := m.(map[string]any)["picks"]; picks != nil {
				for _, p := range picks.([]any) {
					sum += p.(map[string]any)["n"].(float64)
				}
			}
		}
		require.EqualValues(t, 32, sum)

		w := s.ask("GET", "", nil)
		require.Equal(t, http.StatusOK, w.Code)
		for _, text := range []string{
			"<dd>32</dd>", "93.5 %", "86.9 %", "300\u202f435", "<strong>drained</strong>", "away until", `class="o-hit"`, `aria-label="Picks a minute`,
		} {
			require.Contains(t, w.Body.String(), text)
		}
		require.Regexp(t, `(?s)In flight.*<td class="n">65</td>.*<td class="n">66</td>.*<td class="n">67</td>`, w.Body.String())
		require.NotContains(t, w.Body.String(), "<form method=\"post\" action=\"drain\">", "a read-only page has no forms that change something")
		require.NotContains(t, w.Body.String(), "<script")
		time.Sleep(2 * time.Hour)
		for _, m := range fields(t, s.ask("GET", "", nil, asJSON))["hour"].([]any) {
			require.Nil(t, m.(map[string]any)["picks"], "the picks are longer ago than an hour")
		}
	})
}

// The page warns of an auth that has no prompt cache, and of one whose cache lives for a
// shorter time than was assumed.
func TestCachesThatAreNotThereAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, affinityadmin.Options[string]{})
		where := map[string]string{}
		for i, id := range []string{"one", "two", "three"} {
			where[s.serve(session(id), affinity.Usage{Prompt: 10_000}).Auth] = id
			require.Len(t, where, i+1)
		}
		for turn := range 100 {
			short := turn%2 == 0
			for auth, cached := range map[string]int{"A": 0, "B": map[bool]int{true: 9_000}[short], "C": 9_000} {
				s.serve(session(where[auth]), affinity.Usage{Prompt: 10_000, Cached: cached})
			}
			if short {
				time.Sleep(4 * time.Minute)
			} else {
				time.Sleep(20 * time.Second)
			}
		}
		for i, want := range []string{"No prompt cache: 100 of 100 requests", "The prompt cache lives for at most 2m0s, but 5m0s was assumed.", ""} {
			a := fields(t, s.ask("GET", "", nil, asJSON))["auths"].([]any)[i].(map[string]any)
			if want == "" {
				require.Nil(t, a["warnings"], auths[i])
				continue
			}
			require.Contains(t, a["warnings"].([]any)[0], want)
			require.Contains(t, s.ask("GET", "", nil).Body.String(), want)
		}
	})
}

// The page says which auth a session would get, by its name and by a request.
func TestASessionAndARequestAreLookedUp(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{Write: true})
	d := s.serve(session("one"), affinity.Usage{Prompt: 10, Cached: 5})
	name := d.SessionName(false)
	of := open(t, affinityadmin.Options[string]{Candidates: func(e affinity.Event) []string {
		require.Equal(t, []string{"p", "m"}, []string{e.Pool, e.Model})
		return []string{e.Decision.Auth}
	}})
	one := fields(t, of.ask("GET", "session?name="+of.serve(affinity.Request{Pool: "p", Model: "m", Header: session("one").Header}, affinity.Usage{}).SessionName(false), nil, asJSON))
	require.Len(t, one["now"].(map[string]any)["candidates"], 1)

	v := fields(t, s.ask("GET", "session?name="+name, nil, asJSON))
	require.Len(t, v["events"], 2, "a pick and its report")
	now := v["now"].(map[string]any)
	require.Equal(t, []any{"hit", d.Auth, d.Auth, true}, []any{now["outcome"], now["auth"], now["bound"], now["served"]})
	require.Len(t, now["candidates"], 3)
	require.Contains(t, s.ask("GET", "session?name="+name, nil).Body.String(), "Send it away from "+d.Auth)

	for _, pasted := range []string{
		"X-Session-Id: one\n\n{}",
		"POST /v1/messages HTTP/1.1\r\nHost: gateway\r\nX-Session-Id: one\r\n\r\n{\"messages\":[]}",
		"\n\nx-session-id:one",
	} {
		now = fields(t, s.ask("POST", "explain", url.Values{"request": {pasted}}, asJSON))["now"].(map[string]any)
		require.Equal(t, []any{"hit", d.Auth, name}, []any{now["outcome"], now["auth"], now["session"]}, pasted)
	}
	now = fields(t, s.ask("POST", "explain", url.Values{"request": {`{"messages":[{"role":"user","content":"hello"}]}`}}, asJSON))["now"].(map[string]any)
	require.Equal(t, []any{"new", "content"}, []any{now["outcome"], now["signal"]})
	now = fields(t, s.ask("POST", "explain", url.Values{"request": {"{\n\n\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"}}, asJSON))["now"].(map[string]any)
	require.Equal(t, "content", now["signal"], "a body with an empty line")
	require.Equal(t, http.StatusBadRequest, s.ask("POST", "explain", url.Values{"other": {"x"}}).Code)
	require.EqualValues(t, 1, s.Stats().Total(), "explain does not count as a pick")

	w := s.ask("POST", "send-away", url.Values{"name": {name}})
	require.Equal(t, []any{http.StatusSeeOther, "session?done=sent-away&name=" + name}, []any{w.Code, w.Header().Get("Location")})
	require.Contains(t, s.ask("GET", w.Header().Get("Location"), nil).Body.String(), "It moves with its next request.")
	moved := s.serve(session("one"), affinity.Usage{})
	require.Equal(t, []any{affinity.OutcomeMoved, d.Auth}, []any{moved.Outcome, moved.Before})
	require.NotEqual(t, d.Auth, moved.Auth)

	require.Equal(t, http.StatusNotFound, s.ask("GET", "session?name=nobody", nil).Code)
	require.Equal(t, http.StatusNotFound, s.ask("POST", "send-away", url.Values{"name": {"nobody"}}).Code)
}

func TestAuthsAreDrainedAndInvalidated(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{Write: true})
	d := s.serve(session("one"), affinity.Usage{})
	require.Equal(t, map[string]any{"drained": true}, fields(t, s.ask("POST", "drain", url.Values{"auth": {d.Auth}, "on": {"1"}}, asJSON)))
	for i := range 12 {
		require.NotEqual(t, d.Auth, s.serve(session(fmt.Sprint("new", i)), affinity.Usage{}).Auth)
	}
	require.Equal(t, d.Auth, s.serve(session("one"), affinity.Usage{}).Auth, "a drained auth keeps its sessions")
	w := s.ask("POST", "drain", url.Values{"auth": {d.Auth}, "on": {"0"}})
	require.Equal(t, []any{http.StatusSeeOther, "./?done=undrained"}, []any{w.Code, w.Header().Get("Location")})
	require.Equal(t, map[string]any{"sessions": 1.0}, fields(t, s.ask("POST", "invalidate-auth", url.Values{"auth": {d.Auth}}, asJSON)))
	require.Equal(t, affinity.ReasonInvalidated, s.serve(session("one"), affinity.Usage{}).Reason)
	require.Equal(t, http.StatusNotFound, s.ask("POST", "drain", url.Values{"auth": {"nobody"}, "on": {"1"}}).Code)
	require.Equal(t, http.StatusBadRequest, s.ask("POST", "drain", url.Values{"auth": {d.Auth}}).Code, "a form without the field on is refused")
}

// A form that lacks what an action is about is refused, and so is one that names it in another
// field. An auth that is not in the list can be invalidated: it was removed before.
func TestAnActionSaysWhatItLacks(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{Write: true})
	d := s.serve(session("one"), affinity.Usage{})
	for _, c := range []struct {
		action string
		form   url.Values
		status int
		says   string
	}{
		{"invalidate-auth", nil, http.StatusBadRequest, "the form has no auth"},
		{"invalidate-auth", url.Values{"auth": {""}}, http.StatusBadRequest, "the form has no auth"},
		{"invalidate-auth", url.Values{"name": {d.Auth}}, http.StatusBadRequest, "the form has no auth"},
		{"drain", url.Values{"on": {"1"}}, http.StatusBadRequest, "the form has no auth"},
		{"drain", url.Values{"auth": {d.Auth}}, http.StatusBadRequest, "on must be 1 or 0"},
		{"drain", url.Values{"auth": {"nobody"}, "on": {"1"}}, http.StatusNotFound, "there is no such auth"},
		{"send-away", nil, http.StatusBadRequest, "the form has no name"},
		{"send-away", url.Values{"auth": {d.Auth}}, http.StatusBadRequest, "the form has no name"},
		{"send-away", url.Values{"name": {"nobody"}}, http.StatusNotFound, "this process has no recent event of the session"},
		{"explain", nil, http.StatusBadRequest, "there is no request in the form"},
	} {
		w := s.ask("POST", c.action, c.form, asJSON)
		require.Equal(t, c.status, w.Code, "%s %v", c.action, c.form)
		var got struct{ Error string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, c.says, got.Error, "%s %v", c.action, c.form)
	}
	require.Equal(t, affinity.OutcomeHit, s.serve(session("one"), affinity.Usage{}).Outcome, "nothing was changed")
	require.Equal(t, map[string]any{"sessions": 0.0}, fields(t, s.ask("POST", "invalidate-auth", url.Values{"auth": {"removed"}}, asJSON)))
}

// Nothing is changed by a GET, by a request of another origin or for another host, or without
// Write.
func TestNobodyElseWrites(t *testing.T) {
	foreign := map[string]func(*http.Request){
		"origin":   func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"fetch":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"rebound":  func(r *http.Request) { r.Host = "evil.example"; r.Header.Set("Origin", "http://evil.example") },
		"no name":  func(r *http.Request) { r.Host = "" },
		"its name": func(r *http.Request) { r.Host = "gateway.internal:8081" },
	}
	for _, write := range []bool{false, true} {
		s := open(t, affinityadmin.Options[string]{Write: write, Hosts: []string{"Gateway.internal"}})
		d := s.serve(session("one"), affinity.Usage{})
		for target, form := range map[string]url.Values{
			"drain": {"auth": {d.Auth}, "on": {"1"}}, "invalidate-auth": {"auth": {d.Auth}}, "send-away": {"name": {d.SessionName(false)}},
		} {
			w := s.ask("GET", target+"?"+form.Encode(), nil)
			require.Equal(t, []any{http.StatusMethodNotAllowed, "POST"}, []any{w.Code, w.Header().Get("Allow")})
			for name, change := range foreign {
				if name == "its name" && write {
					continue
				}
				require.Equal(t, http.StatusForbidden, s.ask("POST", target, form, change).Code, "%s, %s", target, name)
			}
			if !write {
				require.Equal(t, http.StatusForbidden, s.ask("POST", target, form).Code)
			}
		}
		require.Equal(t, affinity.OutcomeHit, s.serve(session("one"), affinity.Usage{}).Outcome)
		require.False(t, s.Explain(t.Context(), affinity.Request{}, auths).Candidates[0].Drained)
		require.Equal(t, http.StatusForbidden, s.ask("GET", "", nil, foreign["rebound"]).Code, "reading under a foreign host name is refused, too")
		require.Equal(t, http.StatusOK, s.ask("GET", "", nil, foreign["its name"]).Code)
		if write {
			require.Equal(t, http.StatusSeeOther, s.ask("POST", "drain", url.Values{"auth": {"A"}, "on": {"1"}}, foreign["its name"]).Code)
		}
		for _, host := range []string{"127.0.0.1:8081", "[::1]:8081", "localhost", "::1"} {
			require.Equal(t, http.StatusOK, s.ask("GET", "", nil, func(r *http.Request) { r.Host = host }).Code, host)
		}
	}
}

// Whatever a request contains, it comes back as text, not as HTML.
func TestEverythingIsEscaped(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	s := open(t, affinityadmin.Options[string]{Write: true})
	s.serve(affinity.Request{Header: http.Header{"X-Session-Id": {evil}}, Model: evil}, affinity.Usage{})
	for _, w := range []*httptest.ResponseRecorder{
		s.ask("GET", "", nil), s.ask("GET", "session?name="+url.QueryEscape(evil), nil), s.ask("GET", "?done="+url.QueryEscape(evil), nil),
		s.ask("POST", "explain", url.Values{"request": {evil + ": x\n\n" + evil}}), s.ask("POST", "explain", url.Values{"request": {"GET " + evil + " HTTP/1.1"}}),
		s.ask("POST", "drain", url.Values{"auth": {evil}}), s.ask("GET", "", nil, func(r *http.Request) { r.Host = evil }),
	} {
		require.NotContains(t, w.Body.String(), "<script")
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	}
	require.NotContains(t, s.ask("GET", "", nil, asJSON).Body.String(), "script", "no session id of a client's")
}

// The page is served under any prefix, with all that it needs.
func TestThePageIsServedUnderAnyPrefix(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{Write: true})
	d := s.serve(session("one"), affinity.Usage{})
	mux := http.NewServeMux()
	mux.Handle("/deep/inside/", s.page)
	mux.Handle("/stripped/", http.StripPrefix("/stripped", s.page))
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, prefix := range []string{"/deep/inside", "/stripped"} {
		for target, kind := range map[string]string{"": "text/html", "style.css": "text/css", "session?name=" + d.SessionName(false): "text/html"} {
			resp, err := server.Client().Get(server.URL + prefix + "/" + target)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode, target)
			require.Contains(t, resp.Header.Get("Content-Type"), kind)
		}
		resp, err := server.Client().PostForm(server.URL+prefix+"/drain", url.Values{"auth": {"A"}, "on": {"1"}})
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Contains(t, string(text), "no new sessions", "it leads back to the overview")
		require.Equal(t, prefix+"/", resp.Request.URL.Path)
	}
	require.Equal(t, http.StatusNotFound, s.ask("GET", "nothing", nil).Code)
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{})
	for _, from := range []affinityadmin.Affinity[string]{nil, (*affinity.Affinity[string])(nil)} {
		_, err := affinityadmin.New(from, &affinityadmin.Options[string]{Auths: func() []string { return nil }})
		require.ErrorContains(t, err, "the Affinity is nil")
	}
	_, err := affinityadmin.New(s, &affinityadmin.Options[string]{})
	require.ErrorContains(t, err, "Auths")
	_, err = affinityadmin.New[string](s, nil)
	require.ErrorContains(t, err, "Auths")
	require.Panics(t, func() { affinityadmin.NewLog(-1) })
	page, err := affinityadmin.New(s, &affinityadmin.Options[string]{Auths: func() []string { return auths }})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/", nil))
	require.Equal(t, http.StatusOK, w.Code, "without a Log and Savings")
}

// hanging is an Affinity over a store that does not answer.
type hanging struct{ *affinity.Selector[string] }

func (hanging) Sessions(ctx context.Context) (map[string]int, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// While the store does not answer, the page shows all but the number of sessions.
func TestThePageDoesNotWaitForASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, affinityadmin.Options[string]{})
		s.serve(session("one"), affinity.Usage{})
		var err error
		s.page, err = affinityadmin.New(hanging{s.Selector}, &affinityadmin.Options[string]{Auths: func() []string { return auths }})
		require.NoError(t, err)
		began := time.Now()
		all := fields(t, s.ask("GET", "", nil, asJSON))
		require.Equal(t, time.Second, time.Since(began))
		require.EqualValues(t, 1, all["picks"])
		require.NotContains(t, all, "sessions")
		require.NotContains(t, all["auths"].([]any)[0], "sessions")
		require.Contains(t, s.ask("GET", "", nil).Body.String(), `<dd id="sessions">–</dd>`)
	})
}

// The Log keeps as many sessions as NewLog was told.
func TestTheLogIsBounded(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{})
	first := s.serve(session("first"), affinity.Usage{}).SessionName(false)
	for i := range 99 {
		s.serve(session(fmt.Sprint("session-", i)), affinity.Usage{})
	}
	require.Equal(t, http.StatusOK, s.ask("GET", "session?name="+first, nil).Code)
	s.serve(session("one more"), affinity.Usage{})
	require.Equal(t, http.StatusNotFound, s.ask("GET", "session?name="+first, nil).Code)
}

// Whatever an operator pastes is answered.
func FuzzPasted(f *testing.F) {
	for _, text := range []string{"", "X: y", "POST / HTTP/1.1\n\n", "A: b\r\n\r\n{}", "{", ": \n\n", "GET :: HTTP/1.1", "\n\n\n", "a b c\nX-Session-Id: one\n\nbody"} {
		f.Add(text)
	}
	next := selector.RoundRobin[string]()
	lb, err := affinity.Wrap(next, func(a string) string { return a }, nil)
	require.NoError(f, err)
	defer lb.Close()
	page, err := affinityadmin.New(lb, &affinityadmin.Options[string]{Auths: func() []string { return auths }})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		form := url.Values{"request": {text}}
		r := httptest.NewRequest("POST", "http://localhost/explain", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		var v struct {
			Error string
			Now   *struct{ Candidates []any }
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
		if v.Error == "" {
			require.Equal(t, http.StatusOK, w.Code)
			require.Len(t, v.Now.Candidates, len(auths))
		} else {
			require.Equal(t, http.StatusBadRequest, w.Code)
		}
	})
}

// The page answers in spite of NaN, infinite numbers, and times that JSON cannot express.
func TestOddNumbersAreAnswered(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{})
	s.state["A"] = affinity.State{Fitness: affinity.Away, Until: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), Load: math.NaN()}
	meter, err := savings.New(&savings.Options{Prices: func(string, string) savings.Prices { return savings.Prices{Prompt: math.NaN(), Cached: math.Inf(1)} }})
	require.NoError(t, err)
	s.meter = meter
	page, err := affinityadmin.New(s, &affinityadmin.Options[string]{Auths: func() []string { return auths }, Log: s.log, Savings: meter})
	require.NoError(t, err)
	s.page = page
	s.serve(session("one"), affinity.Usage{Prompt: 10, Cached: 5})
	v := fields(t, s.ask("GET", "", nil, asJSON))
	require.Len(t, v["auths"], 3)
	require.Nil(t, v["auths"].([]any)[0].(map[string]any)["until"])
	require.Equal(t, http.StatusOK, s.ask("GET", "", nil).Code)
}

// The share of hits is the share in the picks that have a session.
func TestTheShareOfHitsIsOfSessions(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{})
	for range 10 {
		s.serve(session("one"), affinity.Usage{})
		_, err := s.Pick(t.Context(), affinity.Request{}, nil)
		require.Error(t, err)
	}
	v := fields(t, s.ask("GET", "", nil, asJSON))
	require.InDelta(t, 0.9, v["hit_share"], 1e-9)
	require.EqualValues(t, 10, v["without_session"])
}

// The name of a model, a pool or a tenant may be a part of a large body. The Log keeps none
// of those bodies.
func TestTheLogKeepsNoBodies(t *testing.T) {
	s := open(t, affinityadmin.Options[string]{})
	before, after := new(runtime.MemStats), new(runtime.MemStats)
	runtime.GC()
	runtime.ReadMemStats(before)
	for i := range 64 {
		body := strings.Repeat("a body that is large ", 1<<16)
		s.serve(affinity.Request{Tenant: body[2:6], Pool: body[7:11], Model: body[15:20], Header: session(fmt.Sprint("session ", i)).Header}, affinity.Usage{})
	}
	runtime.GC()
	runtime.ReadMemStats(after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(32<<20), "64 bodies are 88 MB")
	runtime.KeepAlive(s)
}
