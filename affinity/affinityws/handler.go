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

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// Options configure a Handler. The zero value is ready to use, and nil means the zero value.
type Options struct {
	// MaxMessage is how many bytes a message may have, in both directions. A longer one ends
	// the connection on which it came. 0 is 64 MiB.
	MaxMessage int64
	// Origins are the hosts whose web pages may connect, besides the gateway's own, as
	// patterns of path.Match, such as "*.example.com". Programs other than browsers send no
	// Origin, and may always connect.
	Origins []string
}

const defaultMaxMessage = 64 << 20

// Handler serves the Responses API over WebSockets, and passes all other requests to the next
// handler. Any number of goroutines may use it.
type Handler[T any] struct {
	t    *affinityhttp.Transport[T]
	next http.Handler
	o    Options

	mu       sync.Mutex
	sockets  map[*socket[T]]bool
	deaf     map[string]time.Time // auths without WebSockets, and until when that is assumed
	heard    time.Time            // until when it is assumed that an auth has them
	probe    time.Time            // when auths may be probed again
	greeting http.Header          // of the handshake of an auth
	closing  bool
	open     sync.WaitGroup
}

// New makes a Handler. next serves all other requests, usually with the same Transport.
func New[T any](t *affinityhttp.Transport[T], next http.Handler, o *Options) (*Handler[T], error) {
	switch {
	case t == nil:
		return nil, errors.New("affinityws: the Transport is nil")
	case next == nil:
		return nil, errors.New("affinityws: the next handler is nil")
	}
	h := &Handler[T]{t: t, next: next, sockets: map[*socket[T]]bool{}, deaf: map[string]time.Time{}}
	if o != nil {
		h.o = *o
	}
	if h.o.MaxMessage < 0 {
		return nil, fmt.Errorf("affinityws: Options.MaxMessage is %d, want at least 0", h.o.MaxMessage)
	}
	if h.o.MaxMessage == 0 {
		h.o.MaxMessage = defaultMaxMessage
	}
	return h, nil
}

// ServeHTTP serves one connection until it ends, or calls the next handler.
func (h *Handler[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !affinityhttp.IsUpgrade(r) || !canHijack(w) || !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/responses") {
		h.next.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	s := &socket[T]{h: h, in: r.WithContext(ctx), ctx: ctx, cancel: cancel, ups: map[string]*upstream[T]{}, dialing: map[string]*sync.Mutex{}, lanes: map[string]*lane[T]{}}
	if !h.enter(s) {
		cancel()
		affinityhttp.WriteStatus(w, r, http.StatusServiceUnavailable, "this gateway is stopping")
		return
	}
	defer h.leave(s)
	defer s.work.Wait()
	defer cancel()
	first, ok := h.greet(s)
	if !ok {
		affinityhttp.WriteStatus(w, r, http.StatusUpgradeRequired, "the provider does not serve WebSockets: use HTTP")
		return
	}
	if h.isClosing() { // Shutdown was called since enter
		if first != nil {
			first.conn.CloseNow()
		}
		affinityhttp.WriteStatus(w, r, http.StatusServiceUnavailable, "this gateway is stopping")
		return
	}
	h.mu.Lock()
	for _, name := range greetings {
		if v := h.greeting[name]; v != nil {
			w.Header()[name] = v
		}
	}
	h.mu.Unlock()
	client, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: h.o.Origins})
	if err != nil { // Accept has sent the answer
		if first != nil {
			first.conn.CloseNow()
		}
		return
	}
	client.SetReadLimit(h.o.MaxMessage)
	s.mu.Lock()
	s.client = client
	s.mu.Unlock()
	if first != nil {
		s.keep(first)
	}
	if h.isClosing() { // Shutdown has not seen this client
		s.closeIdle()
	}
	s.serve()
}

// canHijack reports whether a connection can be hijacked. It is false for HTTP/2, and behind a
// middleware that hides http.Hijacker.
func canHijack(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return true
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = inner.Unwrap()
	}
}

// greetings are the headers of an auth's handshake that are passed on to the client, because
// Codex reads them. They are those of the auth that was connected last.
var greetings = []string{"X-Reasoning-Included", "X-Models-Etag"}

// How often, how many, and for how long auths are probed for WebSockets, before a client's
// handshake is answered.
const (
	probeEvery = 10 * time.Second
	probeMost  = 4
	probeTime  = 3 * time.Second
)

// greet finds out whether an auth has WebSockets, because after the client's handshake it is
// too late to send the client to HTTP. ok is false if all auths are known to have none. After
// one has opened a connection, none is probed for an hour. first is that connection, if greet
// has opened one.
func (h *Handler[T]) greet(s *socket[T]) (first *upstream[T], ok bool) {
	if h.hears() {
		return nil, true
	}
	q, auths, err := h.t.RequestOf(s.in)
	if err != nil {
		return nil, true // the first frame shows it
	}
	candidates := h.t.Explain(s.ctx, q, auths).Candidates
	deaf, asked := 0, 0
	for _, c := range candidates {
		if h.isDeaf(c.Name) {
			deaf++
		}
	}
	switch {
	case deaf > 0 && deaf == len(candidates):
		return nil, false
	case !h.mayProbe():
		return nil, true
	}
	for i, c := range candidates {
		if asked == probeMost {
			break
		}
		if h.isDeaf(c.Name) || !c.MayServe {
			continue
		}
		asked++
		up, resp, err := s.dial(auths[i], c.Name, probeTime)
		if err == nil {
			return up, true
		}
		if !saysDeaf(resp) {
			return nil, true // another failure; the first frame tries again
		}
		h.markDeaf(c.Name)
	}
	return nil, deaf+asked < len(auths)
}

// hears reports whether an auth has opened a connection lately.
func (h *Handler[T]) hears() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.heard)
}

// mayProbe reports whether auths may be probed now.
func (h *Handler[T]) mayProbe() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Before(h.probe) {
		return false
	}
	h.probe = now.Add(probeEvery)
	return true
}

const (
	// hearsFor is how long the Handler assumes that an auth with WebSockets exists, and
	// deafFor that an auth has none.
	hearsFor = time.Hour
	deafFor  = 10 * time.Minute
	// maxDeaf bounds the auths without WebSockets that are kept. Beyond it all are probed
	// again.
	maxDeaf = 4096
)

// markHearing records that an auth has opened a connection, and its header.
func (h *Handler[T]) markHearing(auth string, header http.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = time.Now().Add(hearsFor)
	h.greeting = header
	delete(h.deaf, auth)
}

// saysDeaf reports whether a refused handshake says that there are no WebSockets.
func saysDeaf(resp *http.Response) bool {
	if resp == nil {
		return false
	}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUpgradeRequired, http.StatusNotImplemented:
		return true
	}
	return resp.StatusCode < 400
}

func (h *Handler[T]) markDeaf(auth string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.deaf) >= maxDeaf {
		clear(h.deaf)
	}
	h.deaf[auth] = time.Now().Add(deafFor)
}

func (h *Handler[T]) isDeaf(auth string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, ok := h.deaf[auth]
	if ok && time.Now().After(until) {
		delete(h.deaf, auth)
		ok = false
	}
	return ok
}

// enter counts a connection. It returns false while the Handler is stopping.
func (h *Handler[T]) enter(s *socket[T]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.open.Add(1)
	h.sockets[s] = true
	return true
}

func (h *Handler[T]) leave(s *socket[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sockets, s)
	h.open.Done()
}

func (h *Handler[T]) isClosing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closing
}

// Shutdown ends all connections, which http.Server.Shutdown does not. It ends each one when
// the answers under way have ended. No new connection and no new turn begins. When ctx is
// done, it cancels what is still under way and returns the error of ctx.
func (h *Handler[T]) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.closing = true
	all := make([]*socket[T], 0, len(h.sockets))
	for s := range h.sockets {
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
