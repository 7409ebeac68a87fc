// Package simulator is a simulated LLM provider for the examples and their
// tests: an http.Handler that speaks Anthropic's messages (with count_tokens),
// OpenAI's chat completions and responses, and Gemini's generateContent, each
// also streamed, with one prompt cache per credential and model, usage fields
// as each provider names them, and faults on demand.
//
//	sim, err := simulator.New(simulator.Options{})
//	http.ListenAndServe("127.0.0.1:9000", sim)
//	...
//	sim.SetFault("key-3", simulator.Fault{Status: 503})
//
// The prompt cache is the providers' idea of one, made exact: the prompt is a
// list of blocks (tools, system, each part of each message), and what is
// cached is the longest prefix of blocks that this credential was served with
// this model within the TTL, if it is at least the minimum length. Tokens are
// bytes divided by four, rounded up for each block.
package simulator

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a Server. The zero value works; negative numbers are errors.
type Options struct {
	TTL          time.Duration // of a cached prefix after its last use; 0: 5 minutes
	MinTokens    int           // the shortest prefix that is cached; 0: 1024
	MaxPrefixes  int           // held per credential, the least recently used goes first; 0: 100,000
	OutputTokens int           // length of an answer; 0: 40
	Credentials  []string      // who is let in; empty: everybody who presents one
}

// Fault is what a credential's requests meet instead of an answer.
type Fault struct {
	Status      int           // answer this status, in the provider's form; 0: none
	RetryAfter  time.Duration // sent with Status, in whole seconds rounded up
	Delay       time.Duration // wait this long before the first byte
	HangUp      bool          // close the connection …
	HangUpAfter int           // … after that many events of the stream
	Times       int           // for that many requests; 0: until it is changed
}

// Stats of one credential since the server was made.
type Stats struct {
	Requests     int // that presented this credential
	Served       int // that were answered to the end
	PromptTokens int // of served requests, cached ones included
	CachedTokens int
	OutputTokens int
}

// Server is the provider. It is safe for concurrent use and starts no
// goroutine.
type Server struct {
	opts    Options
	allowed map[string]bool

	mu       sync.Mutex
	accounts map[string]*account
}

// account is what the server keeps for one credential.
type account struct {
	fault Fault
	stats Stats
	cache *promptCache
}

// New makes a Server.
func New(o Options) (*Server, error) {
	if o.TTL < 0 || o.MinTokens < 0 || o.MaxPrefixes < 0 || o.OutputTokens < 0 {
		return nil, errors.New("simulator: negative option")
	}
	if o.TTL == 0 {
		o.TTL = 5 * time.Minute
	}
	if o.MinTokens == 0 {
		o.MinTokens = 1024
	}
	if o.MaxPrefixes == 0 {
		o.MaxPrefixes = 100_000
	}
	if o.OutputTokens == 0 {
		o.OutputTokens = 40
	}
	s := &Server{opts: o, accounts: map[string]*account{}, allowed: map[string]bool{}}
	for _, c := range o.Credentials {
		s.allowed[c] = true
	}
	return s, nil
}

// SetFault sets what the credential's next requests meet; the zero Fault
// takes it back.
func (s *Server) SetFault(credential string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(credential).fault = f
}

// Stats is a snapshot, by credential.
func (s *Server) Stats() map[string]Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Stats, len(s.accounts))
	for c, a := range s.accounts {
		out[c] = a.stats
	}
	return out
}

// account is called with the lock held.
func (s *Server) account(credential string) *account {
	a := s.accounts[credential]
	if a == nil {
		a = &account{cache: newPromptCache(s.opts.TTL, s.opts.MinTokens, s.opts.MaxPrefixes)}
		s.accounts[credential] = a
	}
	return a
}

// begin counts a request and takes the fault that it meets.
func (s *Server) begin(credential string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(credential)
	a.stats.Requests++
	f := a.fault
	if a.fault.Times > 0 {
		if a.fault.Times--; a.fault.Times == 0 {
			a.fault = Fault{}
		}
	}
	return f
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, model, ok := dialectOf(r.URL.Path)
	if !ok || r.Method != http.MethodPost {
		answerJSON(w, http.StatusNotFound, map[string]any{"error": map[string]any{"message": "no such path"}})
		return
	}
	credential := credentialOf(r)
	if credential == "" || len(s.allowed) > 0 && !s.allowed[credential] {
		answerJSON(w, http.StatusUnauthorized, d.failure(http.StatusUnauthorized, "no valid credential"))
		return
	}
	fault := s.begin(credential)
	if !wait(r.Context(), fault.Delay) {
		return
	}
	if fault.HangUp && fault.HangUpAfter == 0 {
		panic(http.ErrAbortHandler)
	}
	if fault.Status != 0 {
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((fault.RetryAfter+time.Second-1)/time.Second)))
		}
		answerJSON(w, fault.Status, d.failure(fault.Status, "simulated fault"))
		return
	}
	q, err := s.read(r, d)
	if err != nil {
		answerJSON(w, http.StatusBadRequest, d.failure(http.StatusBadRequest, err.Error()))
		return
	}
	if model != "" { // Gemini: the path tells the model and whether to stream
		q.model, q.stream = model, strings.HasSuffix(r.URL.Path, ":streamGenerateContent")
	}
	if d.countOnly {
		answerJSON(w, http.StatusOK, map[string]any{"input_tokens": q.tokens()})
		return
	}
	s.mu.Lock()
	a := &answer{model: q.model, prompt: q.tokens(), cached: s.account(credential).cache.hit(q), output: s.opts.OutputTokens, usage: q.usage}
	s.mu.Unlock()
	a.id, a.text = answerTo(q, a.output)
	if !q.stream {
		answerJSON(w, http.StatusOK, d.whole(a))
	} else if !d.send(w, r, a, fault) {
		return
	}
	if r.Context().Err() != nil {
		return // cancelled: not served, not cached
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.account(credential)
	of.cache.store(q)
	of.stats.Served++
	of.stats.PromptTokens += a.prompt
	of.stats.CachedTokens += a.cached
	of.stats.OutputTokens += a.output
}

// read reads a request's body, compressed or not.
func (s *Server) read(r *http.Request, d *dialect) (*question, error) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		in = z
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	if body == nil {
		return nil, errors.New("the body is not an object")
	}
	return d.read(body), nil
}

// credentialOf is what the client presented, in any of the forms.
func credentialOf(r *http.Request) string {
	if v, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return v
	}
	for _, h := range []string{"X-Api-Key", "X-Goog-Api-Key"} {
		if v := r.Header.Get(h); v != "" {
			return v
		}
	}
	return r.URL.Query().Get("key")
}

// wait returns false if the client went away meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// answerTo is a text that depends on the prompt and nothing else.
func answerTo(q *question, tokens int) (id, text string) {
	var b strings.Builder
	h := q.hash()
	id = fmt.Sprintf("%016x", h)
	fmt.Fprintf(&b, "Answer %s:", id)
	words := strings.Fields("the cache of this account holds what it has read before and reads it again for a tenth")
	for b.Len() < 4*tokens-8 {
		b.WriteByte(' ')
		b.WriteString(words[h%uint64(len(words))])
		h = h*6364136223846793005 + 1442695040888963407
		h ^= h >> 29
	}
	return id, b.String()
}
