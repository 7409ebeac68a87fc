package affinityws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// Options of a Handler. nil is the zero value, which works.
type Options struct {
	// MaxMessage is how many bytes a message may have, in both directions. A longer one
	// ends the connection that it came by. 0 is 64 MiB.
	MaxMessage int64
	// Origins are the origins whose web pages may connect, besides the gateway's own: host
	// patterns of path.Match, such as "*.example.com". Programs send no Origin.
	Origins []string
}

const defaultMaxMessage = 64 << 20

// Handler serves the Responses API over WebSockets, and hands all else to the next handler.
// Any number of goroutines may use it.
type Handler[T any] struct {
	t    *affinityhttp.Transport[T]
	next http.Handler
	o    Options

	mu       sync.Mutex
	sessions map[*session[T]]bool
	refusing map[string]time.Time // auths that know no WebSockets, until when that is believed
	closing  bool
	open     sync.WaitGroup
}

// New makes a Handler. next serves what is not for it, usually by the same Transport.
func New[T any](t *affinityhttp.Transport[T], next http.Handler, o *Options) (*Handler[T], error) {
	switch {
	case t == nil:
		return nil, errors.New("affinityws: no Transport")
	case next == nil:
		return nil, errors.New("affinityws: no next handler")
	}
	h := &Handler[T]{t: t, next: next, sessions: map[*session[T]]bool{}, refusing: map[string]time.Time{}}
	if o != nil {
		h.o = *o
	}
	if h.o.MaxMessage < 0 {
		return nil, fmt.Errorf("affinityws: Options.MaxMessage is %d", h.o.MaxMessage)
	}
	if h.o.MaxMessage == 0 {
		h.o.MaxMessage = defaultMaxMessage
	}
	return h, nil
}

// ServeHTTP serves one connection until it ends, or calls the next handler.
func (h *Handler[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !affinityhttp.IsUpgrade(r) || !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/responses") {
		h.next.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := &session[T]{h: h, in: r.WithContext(ctx), ctx: ctx, cancel: cancel, ups: map[string]*upstream[T]{}, lanes: map[string]*lane[T]{}}
	if !h.enter(s) {
		affinityhttp.WriteStatus(w, r, http.StatusServiceUnavailable, "this gateway is stopping")
		return
	}
	defer h.leave(s)
	defer s.work.Wait()
	defer cancel()
	first, ok := h.greet(w, s)
	if !ok {
		return
	}
	if first != nil {
		pass(w.Header(), first.header)
	}
	client, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: h.o.Origins})
	if err != nil {
		return // Accept has answered
	}
	client.SetReadLimit(h.o.MaxMessage)
	s.serve(client, first)
}

// greet opens the first connection to an auth, nil if none can be opened now. ok is false
// if the client was refused.
func (h *Handler[T]) greet(w http.ResponseWriter, s *session[T]) (first *upstream[T], ok bool) {
	q, auths, err := h.t.RequestOf(s.in)
	if err != nil {
		affinityhttp.WriteError(w, s.in, err)
		return nil, false
	}
	x := h.t.Explain(s.ctx, q, auths)
	if x.Decision.Outcome == affinity.OutcomeRefused {
		affinityhttp.WriteError(w, s.in, x.Err)
		return nil, false
	}
	i := expected(&x)
	if i < 0 { // it is worth waiting for an auth
		return nil, true
	}
	name := x.Candidates[i].Name
	if !h.refuses(name) {
		up, resp, err := s.dial(auths[i], name)
		if err == nil {
			return up, true
		}
		if !isDeaf(resp) {
			return nil, true // the first frame tries again, and another auth if need be
		}
		h.refuse(name)
	}
	affinityhttp.WriteStatus(w, s.in, http.StatusUpgradeRequired, "the provider speaks HTTP and no WebSocket")
	return nil, false
}

// expected is the candidate where the first frame is expected to go: where the session is,
// or one where a balancer may begin it. -1 is none.
func expected(x *affinity.Explanation) int {
	may := -1
	for i, c := range x.Candidates {
		switch {
		case c.Name == x.Decision.Auth:
			return i
		case c.MayServe && (may < 0 || c.Place && !x.Candidates[may].Place):
			may = i
		}
	}
	if x.Decision.Outcome == affinity.OutcomeWaits {
		return -1
	}
	return may
}

// pass copies the header of an auth's handshake into the answer for the client.
func pass(to, from http.Header) {
	for name, values := range from {
		switch {
		case strings.HasPrefix(name, "Sec-Websocket-"), name == "Connection", name == "Upgrade", name == "Date", name == "Content-Length", name == "Transfer-Encoding":
		default:
			to[name] = values
		}
	}
}

// deafFor is how long it is believed that an auth knows no WebSockets.
const deafFor = time.Hour

// maxRefusing bounds what is known. Beyond it all is asked anew.
const maxRefusing = 4096

// isDeaf reports whether a refused handshake says that there are no WebSockets.
func isDeaf(resp *http.Response) bool {
	if resp == nil {
		return false
	}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUpgradeRequired, http.StatusNotImplemented:
		return true
	}
	return resp.StatusCode != http.StatusSwitchingProtocols && resp.StatusCode < 400
}

func (h *Handler[T]) refuse(auth string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.refusing) >= maxRefusing {
		clear(h.refusing)
	}
	h.refusing[auth] = time.Now().Add(deafFor)
}

func (h *Handler[T]) refuses(auth string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, ok := h.refusing[auth]
	if ok && time.Now().After(until) {
		delete(h.refusing, auth)
		ok = false
	}
	return ok
}

// enter counts a connection. It returns false while the Handler is stopping.
func (h *Handler[T]) enter(s *session[T]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.open.Add(1)
	h.sessions[s] = true
	return true
}

func (h *Handler[T]) leave(s *session[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s)
	h.open.Done()
}

func (h *Handler[T]) isClosing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closing
}

// Shutdown ends all connections, which http.Server.Shutdown does not: each when the answers
// under way have ended. No connection and no turn begins any more. When ctx is done,
// what is under way is cut off, and Shutdown returns the error of ctx.
func (h *Handler[T]) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.closing = true
	all := make([]*session[T], 0, len(h.sessions))
	for s := range h.sessions {
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		go s.closeIdle()
	}
	done := make(chan struct{})
	go func() {
		h.open.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, s := range all {
		s.cancel()
	}
	<-done
	return ctx.Err()
}
