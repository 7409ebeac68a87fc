// Package simulator is a simulated LLM provider for the examples and their tests. It is an
// http.Handler for Anthropic's messages, OpenAI's chat completions and responses, Gemini's
// generateContent and Google's interactions, each also streamed. It has one prompt cache per
// credential and model, usage fields as each provider names them, and faults on demand. It
// also counts tokens, lists models and makes embeddings.
//
//	sim, err := simulator.New(simulator.Options{})
//	http.ListenAndServe("127.0.0.1:9000", sim)
//	...
//	sim.SetFault("key-3", simulator.Fault{Status: 503})
//
// The prompt cache works as those of the providers, but exactly. A prompt is a list of blocks:
// tools, system, each part of each message. The cached part of it is the longest prefix of
// blocks that this credential was served with this model within the TTL, if that has at least
// the minimum length. Tokens are bytes divided by four, rounded up for each block.
//
// Only the credential that has made state can name it: responses, conversations, message
// threads, containers, cached contents and interactions. A request that names another
// credential's state is refused as the provider refuses it. So a request to the wrong account
// fails, while a lost prompt cache only costs more.
//
// No two answers are the same: each has its own id, and its text contains that. The length of
// a text depends on Options.OutputTokens alone, so two runs over the same conversations have
// the same number of prompt tokens. With Options.ToolCalls it acts as an agent's model: it
// calls a tool after a message of the user, and answers in words after a tool's result.
package simulator

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a Server. The zero value works; negative numbers are errors.
type Options struct {
	TTL          time.Duration            // of a cached prefix after its last use; 0: 5 minutes
	TTLs         map[string]time.Duration // the same for some credentials; negative: nothing is cached
	MinTokens    int                      // the shortest prefix that is cached; 0: 1024
	MaxPrefixes  int                      // held per credential, the least recently used is dropped first; 0: 100,000
	OutputTokens int                      // length of an answer; 0: 40
	Credentials  []string                 // the accepted ones; empty: any
	Models       []string                 // the models that exist; empty: any
	ToolCalls    bool                     // call the first tool that is offered if the last message is the user's
	ThreadTTL    time.Duration            // of a message thread after its last use; 0: 5 minutes
	MaxStates    int                      // responses, threads and the like held per credential, the least recently used is dropped first; 0: 10,000
}

// Fault is what a credential's requests get instead of an answer.
type Fault struct {
	Status      int           // answer this status, in the provider's form; 0: none
	Body        string        // sent as it is with Status; "": an error in the provider's form
	RetryAfter  time.Duration // sent with Status, in whole seconds rounded up
	Delay       time.Duration // wait this long before the first byte
	HangUp      bool          // close the connection …
	HangUpAfter int           // … after that many events of the stream
	EventError  int           // end a stream after that many events with the provider's error event; 0: none
	Times       int           // for that many requests; 0: until it is changed
}

// Stats of one credential since the server was made.
type Stats struct {
	Requests     int // that presented this credential
	Served       int // that were answered to the end
	PromptTokens int // of served requests, cached ones included
	CachedTokens int
	CacheWrites  int // tokens that they added to the cache
	OutputTokens int
}

// Server is the provider. It is safe for concurrent use and starts no goroutine.
type Server struct {
	opts    Options
	allowed map[string]bool
	mux     *http.ServeMux

	mu       sync.Mutex
	accounts map[string]*account
}

// account is what the server keeps for one credential.
type account struct {
	fault  Fault
	stats  Stats
	cache  *promptCache
	states *states
}

// New makes a Server.
func New(o Options) (*Server, error) {
	if o.TTL < 0 || o.MinTokens < 0 || o.MaxPrefixes < 0 || o.OutputTokens < 0 || o.ThreadTTL < 0 || o.MaxStates < 0 {
		return nil, errors.New("simulator: an option is negative")
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
	if o.ThreadTTL == 0 {
		o.ThreadTTL = 5 * time.Minute
	}
	if o.MaxStates == 0 {
		o.MaxStates = 10_000
	}
	s := &Server{opts: o, accounts: map[string]*account{}, allowed: map[string]bool{}}
	for _, c := range o.Credentials {
		s.allowed[c] = true
	}
	s.mux = s.routes()
	return s, nil
}

// SetFault sets what the credential's next requests get; the zero Fault removes it.
func (s *Server) SetFault(credential string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(credential).fault = f
}

// Stats returns a snapshot, by credential.
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
		ttl, ok := s.opts.TTLs[credential]
		if !ok {
			ttl = s.opts.TTL
		}
		a = &account{cache: newPromptCache(ttl, s.opts.MinTokens, s.opts.MaxPrefixes), states: newStates(s.opts.MaxStates)}
		s.accounts[credential] = a
	}
	return a
}

// begin counts a request and returns the fault that applies to it.
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

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// admit reports whether a request has an accepted credential and no fault at its beginning. It
// answers the other requests.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, d *dialect) (credential string, fault Fault, ok bool) {
	credential = credentialOf(r)
	if credential == "" || len(s.allowed) > 0 && !s.allowed[credential] {
		refuse(w, d, &refusal{status: http.StatusUnauthorized, message: "no valid credential"})
		return credential, fault, false
	}
	fault = s.begin(credential)
	if !wait(r.Context(), fault.Delay) {
		return credential, fault, false
	}
	if fault.HangUp && fault.HangUpAfter == 0 {
		panic(http.ErrAbortHandler)
	}
	if fault.Status == 0 {
		return credential, fault, true
	}
	if fault.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((fault.RetryAfter+time.Second-1)/time.Second)))
	}
	if fault.Body == "" {
		refuse(w, d, &refusal{status: fault.Status, message: "simulated fault"})
		return credential, fault, false
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault.Status)
	io.WriteString(w, fault.Body)
	return credential, fault, false
}

// generate answers a request to a model.
func (s *Server) generate(d *dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		credential, fault, ok := s.admit(w, r, d)
		if !ok {
			return
		}
		body, err := readBody(r)
		if err != nil {
			refuse(w, d, &refusal{status: http.StatusBadRequest, message: err.Error()})
			return
		}
		q := d.read(body)
		if d == &gemini { // the path has the model, and says whether to stream
			model, method, _ := strings.Cut(r.PathValue("call"), ":")
			q.model, q.stream = model, method == "streamGenerateContent"
		}
		a, refused := s.answer(credential, d, q)
		if refused != nil {
			refuse(w, d, refused)
			return
		}
		served := func() { s.served(credential, d, q, a) }
		if q.stream {
			d.send(w, r, a, fault, served)
			return
		}
		served()
		answerJSON(w, http.StatusOK, d.whole(a))
	}
}

// answer makes the answer. Nothing of it is kept before it is served.
func (s *Server) answer(credential string, d *dialect, q *question) (*answer, *refusal) {
	if refused := s.known(d, q.model); refused != nil {
		return nil, refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.account(credential)
	if refused := of.recall(d, q, s.opts.ThreadTTL); refused != nil {
		return nil, refused
	}
	if q.names.newContainer {
		q.names.container = "container_" + newID()
	}
	a := answerTo(q, s.opts.OutputTokens, s.opts.ToolCalls)
	a.cached = of.cache.hit(q)
	a.written = of.cache.writes(q, a.cached)
	return a, nil
}

// served keeps the state of an answer, and counts it.
func (s *Server) served(credential string, d *dialect, q *question, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.account(credential)
	of.cache.store(q)
	of.keep(d, q, a)
	of.stats.Served++
	of.stats.PromptTokens += a.prompt
	of.stats.CachedTokens += a.cached
	of.stats.CacheWrites += a.written
	of.stats.OutputTokens += a.output
}

// readBody reads a request's body, compressed or not.
func readBody(r *http.Request) (object, error) {
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
	var body object
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	if body == nil {
		return nil, errors.New("the body is not an object")
	}
	return body, nil
}

// credentialOf returns the client's credential, in any of the forms.
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

// wait returns false if the client has left meanwhile.
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
