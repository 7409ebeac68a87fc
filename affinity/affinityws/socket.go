package affinityws

import (
	"context"
	"errors"
	"log"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// socket is a client's connection, with the connections to auths that were opened for it.
type socket[T any] struct {
	h      *Handler[T]
	in     *http.Request
	ctx    context.Context
	cancel context.CancelFunc
	client *websocket.Conn
	work   sync.WaitGroup // its goroutines

	mu      sync.Mutex
	ups     map[string]*upstream[T] // those that are open, by the auth
	dialing map[string]*sync.Mutex  // one connection is opened to an auth at a time
	lanes   map[string]*lane[T]     // by stream_id
	turns   int                     // turns of the client that have not ended
	held    int64                   // bytes of the messages that wait
}

const (
	// maxStreams is how many named streams a connection can have.
	maxStreams = 32
	// dialTime is how long opening a connection to an auth may take.
	dialTime = 10 * time.Second
	// writeTime is how long writing a message may take. A peer that reads nothing for so long
	// is disconnected.
	writeTime = 30 * time.Second
)

// serve reads the client's messages until the client leaves.
func (s *socket[T]) serve() {
	defer s.client.CloseNow()
	for {
		kind, text, err := s.client.Read(s.ctx)
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			_ = s.client.Close(websocket.StatusUnsupportedData, "a message must be JSON text")
			return
		}
		if !s.take(text) {
			return
		}
	}
}

// take processes a message of the client. It never blocks, so that a client that leaves is
// noticed. It returns false if the connection has to end.
func (s *socket[T]) take(text []byte) bool {
	m, bad := readMessage(text)
	if bad != "" {
		s.tell(errorEvent("", http.StatusBadRequest, "invalid_request_error", bad, "a message must be a JSON object with a type, and may have a stream_id", nil))
		return true
	}
	if m.turn && s.h.isClosing() {
		s.closeIdle()
		return true
	}
	l := s.lane(m.stream)
	if l == nil {
		s.tell(errorEvent(m.stream, http.StatusBadRequest, "invalid_request_error", "websocket_stream_limit_reached", "this connection has too many streams", nil))
		return true
	}
	if !s.hold(&m) || !l.put(m) {
		_ = s.client.Close(websocket.StatusPolicyViolation, "too many bytes wait for an answer")
		return false
	}
	return true
}

// hold counts a message that waits. It returns false if the messages that wait have too many
// bytes.
func (s *socket[T]) hold(m *message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held += int64(len(m.text))
	if m.turn {
		s.turns++
	}
	return s.held <= s.h.o.MaxMessage || s.held == int64(len(m.text))
}

// release subtracts a message that no longer waits.
func (s *socket[T]) release(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= int64(len(m.text))
}

// ended subtracts a turn.
func (s *socket[T]) ended() {
	s.mu.Lock()
	s.turns--
	s.mu.Unlock()
	if s.h.isClosing() {
		s.closeIdle()
	}
}

// closeIdle ends the connection if nothing is under way.
func (s *socket[T]) closeIdle() {
	s.mu.Lock()
	client, busy := s.client, s.turns > 0
	s.mu.Unlock()
	if busy {
		return
	}
	if client != nil {
		_ = client.Close(websocket.StatusGoingAway, "the gateway is stopping")
	}
	s.cancel()
}

// lane returns the lane of a stream, nil if there are too many.
func (s *socket[T]) lane(id string) *lane[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[id]
	if l == nil {
		named := len(s.lanes)
		if s.lanes[""] != nil {
			named--
		}
		if id != "" && named == maxStreams {
			return nil
		}
		l = &lane[T]{s: s, id: id, wake: make(chan struct{}, 1)}
		s.lanes[id] = l
		s.work.Go(l.run)
	}
	return l
}

// tell sends an event of the Handler's own to the client.
func (s *socket[T]) tell(event []byte) { s.pass(websocket.MessageText, event) }

// pass sends a message to the client.
func (s *socket[T]) pass(kind websocket.MessageType, message []byte) {
	ctx, cancel := context.WithTimeout(s.ctx, writeTime)
	defer cancel()
	if s.client.Write(ctx, kind, message) != nil {
		s.cancel() // it has left
	}
}

// guard ends the connection when a function of the host panics, and logs the panic, as
// net/http does for a request. Call it with defer.
func (s *socket[T]) guard() {
	v := recover()
	if v == nil {
		return
	}
	s.cancel()
	if v == http.ErrAbortHandler {
		return
	}
	say := log.Printf
	if server, ok := s.in.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ErrorLog != nil {
		say = server.ErrorLog.Printf
	}
	say("affinityws: panic serving %s: %v\n%s", s.in.RemoteAddr, v, debug.Stack())
}

// errNoFrames is the error for a Base that cannot open connections.
var errNoFrames = errors.New("affinityws: the Base of the Transport cannot open a WebSocket: the body of its 101 is not writable")

// dial opens a connection to an auth. resp is the auth's answer, if it has refused.
func (s *socket[T]) dial(auth T, name string, within time.Duration) (up *upstream[T], resp *http.Response, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, within)
	defer cancel()
	out, err := s.h.t.Upgrade(ctx, s.in, auth)
	if err != nil {
		return nil, nil, err
	}
	base := http.Client{Transport: s.h.t.Base(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	conn, resp, err := websocket.Dial(ctx, out.URL.String(), &websocket.DialOptions{HTTPClient: &base, HTTPHeader: out.Header, Host: out.Host})
	switch {
	case err != nil && resp != nil && resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, nil, errNoFrames
	case err != nil:
		return nil, resp, err
	}
	conn.SetReadLimit(s.h.o.MaxMessage)
	s.h.markHearing(name, resp.Header)
	return &upstream[T]{s: s, name: name, conn: conn, running: map[string]*running[T]{}, over: map[string]string{}}, nil, nil
}

// keep adds a connection to an auth to those of the client.
func (s *socket[T]) keep(up *upstream[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ups[up.name] = up
	s.work.Go(up.read)
}

// begin begins a turn at an auth, over the open connection or over a new one.
func (s *socket[T]) begin(auth T, name, id string, turn *affinityhttp.Turn[T], frame []byte) (run *running[T], resp *http.Response, err error) {
	s.mu.Lock()
	one := s.dialing[name]
	if one == nil {
		one = new(sync.Mutex)
		s.dialing[name] = one
	}
	s.mu.Unlock()
	one.Lock()
	defer one.Unlock()
	s.mu.Lock()
	up := s.ups[name]
	s.mu.Unlock()
	if up != nil {
		if run = up.begin(id, turn, frame); run != nil {
			return run, nil, nil
		}
	}
	if up, resp, err = s.dial(auth, name, dialTime); err != nil {
		return nil, resp, err
	}
	run = up.begin(id, turn, frame) // the new connection is open
	s.keep(up)
	return run, nil, nil
}

// forget forgets a connection that has ended.
func (s *socket[T]) forget(up *upstream[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ups[up.name] == up {
		delete(s.ups, up.name)
	}
}
