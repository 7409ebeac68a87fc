package affinityadmin

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
)

// Affinity is implemented by affinity.Affinity, affinity.Selector and affinityhttp.Transport,
// which a Page can show.
type Affinity[T any] interface {
	Stats() affinity.Stats
	Sessions(ctx context.Context) (map[string]int, error)
	Explain(ctx context.Context, r affinity.Request, auths []T) affinity.Explanation
	ExplainSession(ctx context.Context, e affinity.Event, auths []T) affinity.Explanation
	SendAway(ctx context.Context, e affinity.Event) (bool, error)
	InvalidateAuth(ctx context.Context, auth string) (int, error)
	Drain(auth string, on bool)
}

// Options configure a Page.
type Options[T any] struct {
	// Auths returns all auths, in the order in which they are shown. It is called for each
	// request of the page and must not be nil.
	Auths func() []T
	// Request returns what the gateway would pass to Pick for a client's request that an
	// operator has pasted. nil returns its headers and body, and all Auths. A gateway that sets
	// Tenant, Pool or Model must set them here, too: they are part of what names a session.
	Request func(r *http.Request) (affinity.Request, []T, error)
	// Candidates returns the candidates that the gateway would pass to Pick for a request like
	// that of an event. nil returns all Auths.
	Candidates func(e affinity.Event) []T
	// Log is shown as the last hour and the sessions, and Savings as what was saved. If one is
	// nil, its part is not shown.
	Log     *Log
	Savings *savings.Meter
	// InFlight returns how many requests are under way at an auth, for example
	// affinityhttp.Transport.InFlight. With nil the number is not shown.
	InFlight func(auth string) int
	// Write allows the page to drain and invalidate auths, and to send sessions away.
	Write bool
	// Hosts are the host names of this server, besides localhost, for which the page answers.
	// IP addresses are always accepted.
	Hosts []string
}

// Page is an http.Handler. Any number of goroutines may use it.
type Page[T any] struct {
	from  Affinity[T]
	o     Options[T]
	cross http.CrossOriginProtection
}

//go:embed page.html style.css
var files embed.FS

var pages = template.Must(template.New("").Funcs(functions).ParseFS(files, "page.html"))

// New makes a Page. An error names what is missing.
func New[T any](from Affinity[T], o *Options[T]) (*Page[T], error) {
	switch {
	case isNil(from):
		return nil, errors.New("affinityadmin: the Affinity is nil")
	case o == nil || o.Auths == nil:
		return nil, errors.New("affinityadmin: Options.Auths is nil")
	}
	p := &Page[T]{from: from, o: *o}
	if p.o.Candidates == nil {
		p.o.Candidates = func(affinity.Event) []T { return p.o.Auths() }
	}
	return p, nil
}

// isNil reports whether an interface is nil or holds a nil pointer.
func isNil(v any) bool {
	p := reflect.ValueOf(v)
	return v == nil || p.Kind() == reflect.Pointer && p.IsNil()
}

// maxPasted bounds the size of a form with a pasted request.
const maxPasted = 16 << 20

// ServeHTTP serves the page that the last part of the path names.
func (p *Page[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	if !p.isHost(r.Host) {
		p.fail(w, r, http.StatusForbidden, fmt.Sprintf("the host %q is not allowed: add it to affinityadmin.Options.Hosts", r.Host))
		return
	}
	if err := p.cross.Check(r); err != nil {
		p.fail(w, r, http.StatusForbidden, "a page of another origin has sent this request")
		return
	}
	name := ""
	if !strings.HasSuffix(r.URL.Path, "/") {
		name = path.Base(r.URL.Path)
	}
	serve, method := p.overview, http.MethodGet
	switch name {
	case "", ".":
	case "style.css":
		serve = style
	case "session":
		serve = p.session
	case "explain":
		serve, method = p.explain, http.MethodPost
	case "drain":
		serve, method = p.writing(p.drain, "auth"), http.MethodPost
	case "invalidate-auth":
		serve, method = p.writing(p.invalidateAuth, "auth"), http.MethodPost
	case "send-away":
		serve, method = p.writing(p.sendAway, "name"), http.MethodPost
	default:
		p.fail(w, r, http.StatusNotFound, "there is no such page")
		return
	}
	if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
		h.Set("Allow", strings.Replace(method, "GET", "GET, HEAD", 1))
		p.fail(w, r, http.StatusMethodNotAllowed, "use the method "+method)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxPasted)
	serve(w, r)
}

// isHost reports whether a request names this server as its host. A request with a foreign
// name for this server is an attack on the operator's browser (DNS rebinding).
func (p *Page[T]) isHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return net.ParseIP(host) != nil || strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(p.o.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// style serves the page's style sheet.
func style(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "style.css") }

// isJSON reports whether the caller wants JSON.
func isJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

// answer writes a view by its template, or as JSON.
func (p *Page[T]) answer(w http.ResponseWriter, r *http.Request, status int, name string, view any) {
	if isJSON(r) {
		text, err := json.Marshal(view)
		if err != nil { // a number of the host that is not finite
			text, status = []byte(`{"error":"the answer has a number that JSON cannot express"}`), http.StatusInternalServerError
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(text, '\n')) // the caller is gone
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = pages.ExecuteTemplate(w, name, view) // the caller is gone
}

func (p *Page[T]) fail(w http.ResponseWriter, r *http.Request, status int, what string) {
	p.answer(w, r, status, "error", struct {
		Error string `json:"error"`
	}{what})
}

func (p *Page[T]) overview(w http.ResponseWriter, r *http.Request) {
	p.answer(w, r, http.StatusOK, "overview", p.view(r.Context(), notices[r.URL.Query().Get("done")]))
}

// session shows one session.
func (p *Page[T]) session(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.URL.Query().Get("name"))
	v := sessionView{Name: name, Write: p.o.Write, Notice: notices[r.URL.Query().Get("done")]}
	if p.o.Log != nil {
		known, events := p.o.Log.find(name)
		for _, e := range events {
			v.Events = append(v.Events, eventOf(e))
		}
		if known.Locates() {
			x := p.from.ExplainSession(r.Context(), known, p.o.Candidates(known))
			v.Now = explanationOf(x)
		}
	}
	status := http.StatusOK
	if v.Events == nil {
		status = http.StatusNotFound
	}
	p.answer(w, r, status, "session", v)
}

// explain shows which auth would serve a pasted request.
func (p *Page[T]) explain(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.fail(w, r, http.StatusBadRequest, "the form cannot be read, or is too large")
		return
	}
	text := r.PostForm.Get("request")
	if strings.TrimSpace(text) == "" {
		p.fail(w, r, http.StatusBadRequest, "there is no request in the form")
		return
	}
	v := requestView{Request: text}
	pasted, err := parse(r.Context(), text)
	if err == nil {
		var q affinity.Request
		auths := []T(nil)
		if p.o.Request != nil {
			q, auths, err = p.o.Request(pasted)
		} else {
			body, _ := io.ReadAll(pasted.Body) // of a string
			q, auths = affinity.Request{Header: pasted.Header, Body: body}, p.o.Auths()
		}
		if err == nil {
			x := p.from.Explain(r.Context(), q, auths)
			v.Now = explanationOf(x)
		}
	}
	status := http.StatusOK
	if err != nil {
		v.Error, status = err.Error(), http.StatusBadRequest
	}
	p.answer(w, r, status, "request", v)
}

// parse reads a pasted request: an optional first line, headers, an empty line, the body. Line
// ends may be those of a form.
func parse(ctx context.Context, text string) (*http.Request, error) {
	method, target := http.MethodPost, "/"
	text = strings.TrimLeft(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	head, body, _ := strings.Cut(text, "\n\n")
	if strings.HasPrefix(strings.TrimSpace(text), "{") { // a body alone
		head, body = "", text
	}
	first, rest, _ := strings.Cut(head, "\n")
	if f := strings.Fields(first); len(f) == 3 && strings.HasPrefix(f[2], "HTTP/") {
		method, target, head = f[0], f[1], rest
	}
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSpace(head) + "\n\n"))).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("the headers cannot be read: write one header a line, as \"Name: value\", then an empty line: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the first line cannot be read: %w", err)
	}
	r.Header, r.Host = http.Header(header), header.Get("Host")
	return r, nil
}

// writing serves only requests that are allowed to change something, and that name in field
// what is to be changed.
func (p *Page[T]) writing(serve func(http.ResponseWriter, *http.Request), field string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !p.o.Write:
			p.fail(w, r, http.StatusForbidden, "this page is read-only: affinityadmin.Options.Write is not set")
		case r.ParseForm() != nil:
			p.fail(w, r, http.StatusBadRequest, "the form cannot be read, or is too large")
		case r.PostForm.Get(field) == "":
			p.fail(w, r, http.StatusBadRequest, "the form has no "+field)
		default:
			serve(w, r)
		}
	}
}

// notices are the messages after an action, by their codes in the address.
var notices = map[string]string{
	"drained":     "The auth gets no new sessions from now on.",
	"undrained":   "The auth gets new sessions again.",
	"invalidated": "The auth has no sessions any more. Each session moves with its next request.",
	"sent-away":   "The session has no auth any more. It moves with its next request.",
	"no-auth":     "The session had no auth.",
}

// done redirects to a page, or answers in JSON what was done.
func (p *Page[T]) done(w http.ResponseWriter, r *http.Request, to string, query url.Values, result any) {
	if isJSON(r) {
		p.answer(w, r, http.StatusOK, "", result)
		return
	}
	// A relative address: the page does not know where the host serves it.
	w.Header().Set("Location", to+"?"+query.Encode())
	w.WriteHeader(http.StatusSeeOther)
}

func (p *Page[T]) drain(w http.ResponseWriter, r *http.Request) {
	auth, on := r.PostForm.Get("auth"), r.PostForm.Get("on") == "1"
	if !on && r.PostForm.Get("on") != "0" {
		p.fail(w, r, http.StatusBadRequest, "on must be 1 or 0")
		return
	}
	if !p.has(r.Context(), auth) {
		p.fail(w, r, http.StatusNotFound, "there is no such auth")
		return
	}
	p.from.Drain(auth, on)
	code := "undrained"
	if on {
		code = "drained"
	}
	p.done(w, r, "./", url.Values{"done": {code}}, map[string]bool{"drained": on})
}

// has reports whether there is an auth with a name, so that no request fills a table with
// other names.
func (p *Page[T]) has(ctx context.Context, auth string) bool {
	x := p.from.Explain(ctx, affinity.Request{}, p.o.Auths())
	return slices.ContainsFunc(x.Candidates, func(c affinity.Candidate) bool { return c.Name == auth })
}

func (p *Page[T]) invalidateAuth(w http.ResponseWriter, r *http.Request) {
	n, err := p.from.InvalidateAuth(r.Context(), r.PostForm.Get("auth"))
	if err != nil {
		p.fail(w, r, http.StatusBadGateway, err.Error())
		return
	}
	p.done(w, r, "./", url.Values{"done": {"invalidated"}}, map[string]int{"sessions": n})
}

func (p *Page[T]) sendAway(w http.ResponseWriter, r *http.Request) {
	name := r.PostForm.Get("name")
	var known affinity.Event
	if p.o.Log != nil {
		known, _ = p.o.Log.find(name)
	}
	if !known.Locates() {
		p.fail(w, r, http.StatusNotFound, "this process has no recent event of the session")
		return
	}
	sent, err := p.from.SendAway(r.Context(), known)
	if err != nil {
		p.fail(w, r, http.StatusBadGateway, err.Error())
		return
	}
	code := "no-auth"
	if sent {
		code = "sent-away"
	}
	p.done(w, r, "session", url.Values{"name": {name}, "done": {code}}, map[string]bool{"sent": sent})
}
