package affinityws

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// session is a client's connection, with those to auths that belong to it.
type session[T any] struct {
	h      *Handler[T]
	in     *http.Request
	ctx    context.Context
	cancel context.CancelFunc
	client *websocket.Conn
	work   sync.WaitGroup // its goroutines

	mu      sync.Mutex
	ups     map[string]*upstream[T] // those that are open, by the auth
	lanes   map[string]*lane[T]     // by stream_id
	waiting int                     // turns that were sent by the client and have not ended
}

// maxLanes is how many streams a connection can have: 32 named ones, and the one without a
// name.
const maxLanes = 33

// serve reads what the client sends, until it leaves.
func (s *session[T]) serve(client *websocket.Conn, first *upstream[T]) {
	s.mu.Lock()
	s.client = client
	s.mu.Unlock()
	defer client.CloseNow()
	if first != nil {
		s.keep(first)
	}
	for {
		kind, message, err := client.Read(s.ctx)
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			_ = client.Close(websocket.StatusUnsupportedData, "a message is JSON text")
			return
		}
		if !s.take(message) {
			return
		}
	}
}

// take takes a message of the client. It returns false if the connection has to end.
func (s *session[T]) take(message []byte) bool {
	what := gjson.GetManyBytes(message, "type", "stream_id")
	id := what[1].String()
	l := s.lane(id)
	switch {
	case l == nil:
		s.tell(errorEvent(id, http.StatusBadRequest, "invalid_request_error", "websocket_stream_limit_reached", "there are too many streams", nil))
		return true
	case what[0].Str != "response.create":
		l.forward(message)
		return true
	}
	if s.h.isClosing() {
		s.closeIdle()
		return true
	}
	s.began()
	select {
	case l.frames <- message:
		return true
	default:
		s.ended()
		_ = s.client.Close(websocket.StatusPolicyViolation, "too many requests wait in one stream")
		return false
	}
}

func (s *session[T]) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting++
}

func (s *session[T]) ended() {
	s.mu.Lock()
	s.waiting--
	s.mu.Unlock()
	if s.h.isClosing() {
		s.closeIdle()
	}
}

// closeIdle ends the connection if nothing is under way.
func (s *session[T]) closeIdle() {
	s.mu.Lock()
	client, busy := s.client, s.waiting > 0
	s.mu.Unlock()
	if busy {
		return
	}
	if client != nil {
		_ = client.Close(websocket.StatusGoingAway, "the gateway is stopping")
	}
	s.cancel()
}

// lane is the lane of a stream, nil if there are too many.
func (s *session[T]) lane(id string) *lane[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[id]
	if l == nil && len(s.lanes) < maxLanes {
		l = &lane[T]{s: s, id: id, frames: make(chan []byte, maxWaiting)}
		s.lanes[id] = l
		s.work.Go(l.run)
	}
	return l
}

// tell sends an event to the client.
func (s *session[T]) tell(event []byte) {
	if s.client.Write(s.ctx, websocket.MessageText, event) != nil {
		s.cancel() // it has left
	}
}

// dialTime is how long opening a connection to an auth may take.
const dialTime = 30 * time.Second

// dial opens a connection to an auth. resp is the auth's answer, if it has refused.
func (s *session[T]) dial(auth T, name string) (up *upstream[T], resp *http.Response, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialTime)
	defer cancel()
	out, err := s.h.t.Upgrade(ctx, s.in, auth)
	if err != nil {
		return nil, nil, err
	}
	base := http.Client{Transport: s.h.t.Base(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	conn, resp, err := websocket.Dial(ctx, out.URL.String(), &websocket.DialOptions{HTTPClient: &base, HTTPHeader: out.Header, Host: out.Host})
	if err != nil {
		return nil, resp, err
	}
	conn.SetReadLimit(s.h.o.MaxMessage)
	return &upstream[T]{s: s, name: name, conn: conn, header: resp.Header, running: map[string]*running[T]{}}, nil, nil
}

// keep makes a connection to an auth one of the session's.
func (s *session[T]) keep(up *upstream[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ups[up.name] = up
	s.work.Go(up.read)
}

// begin begins a turn at an auth, by the connection that there is or by a new one.
func (s *session[T]) begin(auth T, name, id string, turn *affinityhttp.Turn[T], frame []byte) (run *running[T], resp *http.Response, err error) {
	s.mu.Lock()
	up := s.ups[name]
	s.mu.Unlock()
	if up != nil {
		if run = up.begin(id, turn, frame); run != nil {
			return run, nil, nil
		}
	}
	if up, resp, err = s.dial(auth, name); err != nil {
		return nil, resp, err
	}
	run = up.begin(id, turn, frame) // it is open
	s.keep(up)
	return run, nil, nil
}

// forget forgets a connection that has ended.
func (s *session[T]) forget(up *upstream[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ups[up.name] == up {
		delete(s.ups, up.name)
	}
}
