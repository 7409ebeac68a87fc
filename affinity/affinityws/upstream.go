package affinityws

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// upstream is a connection to an auth.
type upstream[T any] struct {
	s    *socket[T]
	name string
	conn *websocket.Conn

	mu      sync.Mutex
	running map[string]*running[T] // the turns whose answers have not ended, by stream_id
	over    map[string]string      // the id of the response that an error has ended, by stream_id
	closed  bool
}

// running is a turn whose message was sent, or is about to be.
type running[T any] struct {
	up       *upstream[T]
	turn     *affinityhttp.Turn[T]
	frame    []byte
	response string      // the id of its response, as soon as that is known
	begun    atomic.Bool // an event has come
	done     chan error  // gets one value when the answer has ended; an error if it is not complete
}

// begin makes a turn the running one of its stream. It returns nil if the connection has
// ended.
func (u *upstream[T]) begin(id string, turn *affinityhttp.Turn[T], frame []byte) *running[T] {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	run := &running[T]{up: u, turn: turn, frame: frame, done: make(chan error, 1)}
	u.running[id] = run
	return run
}

// send sends a message of the client. If that fails, the auth does not have the whole
// message, and the connection ends.
func (u *upstream[T]) send(text []byte) bool {
	ctx, cancel := context.WithTimeout(u.s.ctx, writeTime)
	defer cancel()
	if err := u.conn.Write(ctx, websocket.MessageText, text); err != nil {
		u.conn.CloseNow() // read ends
		return false
	}
	return true
}

// read passes on the auth's messages until its connection ends. An event is processed before
// the client gets it, because the client's next frame may come at once.
func (u *upstream[T]) read() {
	defer u.s.guard()
	why := io.ErrUnexpectedEOF
	defer func() { u.end(why) }() // also after a panic
	for {
		kind, event, err := u.conn.Read(u.s.ctx)
		if err != nil {
			why = err
			return
		}
		run, id, lost := u.concerns(kind, event)
		if lost {
			return
		}
		over := false
		if run != nil {
			run.begun.Store(true)
			if over = run.turn.Event(event); over && run.turn.Elsewhere() {
				event = again(id, run.frame)
			}
		}
		if over {
			u.mu.Lock()
			delete(u.running, id)
			if delete(u.over, id); run.response != "" && gjson.GetBytes(event, "type").Str == "error" {
				u.over[id] = run.response // the error may have been about another message
			}
			u.mu.Unlock()
		}
		u.s.pass(kind, event)
		if over {
			run.done <- nil
		}
	}
}

// concerns returns the turn that an event is about, nil for none. An event without a stream_id
// is about the only running turn. If several run and it is an error, its turn is not known,
// and lost says that none of them can continue. Late events of a response that an error has
// ended are about no turn.
func (u *upstream[T]) concerns(kind websocket.MessageType, event []byte) (run *running[T], id string, lost bool) {
	if kind != websocket.MessageText {
		return nil, "", false
	}
	says := gjson.GetManyBytes(event, "stream_id", "type", "response.id")
	u.mu.Lock()
	defer u.mu.Unlock()
	id = says[0].Str
	if run = u.running[id]; run == nil && id == "" {
		if len(u.running) > 1 {
			return nil, "", says[1].Str == "error"
		}
		for only, r := range u.running {
			id, run = only, r
		}
	}
	response := says[2].Str
	switch {
	case run == nil || response == "":
	case response == u.over[id]:
		run = nil
	case run.response == "":
		run.response = response
	case run.response != response:
		run = nil
	}
	return run, id, false
}

// end ends the turns whose answers can no longer come.
func (u *upstream[T]) end(err error) {
	u.conn.CloseNow()
	u.s.forget(u)
	u.mu.Lock()
	u.closed = true
	broken := u.running
	u.running = nil
	u.mu.Unlock()
	for _, run := range broken {
		run.done <- err
	}
}
