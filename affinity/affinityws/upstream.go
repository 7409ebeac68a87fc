package affinityws

import (
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// upstream is a connection to an auth.
type upstream[T any] struct {
	s      *session[T]
	name   string
	conn   *websocket.Conn
	header http.Header // of its handshake

	mu      sync.Mutex
	running map[string]*running[T] // the turns whose answers have not ended, by stream_id
	closed  bool
}

// running is a turn whose message was sent, or is about to be.
type running[T any] struct {
	up    *upstream[T]
	turn  *affinityhttp.Turn[T]
	frame []byte
	done  chan error // gets one value when the answer has ended; an error if it broke off
}

// begin makes a turn the one whose answer comes next in its stream. It returns nil if the
// connection has ended.
func (u *upstream[T]) begin(id string, turn *affinityhttp.Turn[T], frame []byte) *running[T] {
	if v := u.header.Get("X-Codex-Turn-State"); v != "" {
		turn.Owns("X-Codex-Turn-State", v)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	run := &running[T]{u, turn, frame, make(chan error, 1)}
	u.running[id] = run
	return run
}

// send sends a message of the client. If that fails, the auth does not have the whole
// message, and the connection ends.
func (u *upstream[T]) send(message []byte) bool {
	if err := u.conn.Write(u.s.ctx, websocket.MessageText, message); err != nil {
		u.conn.CloseNow() // read ends
		return false
	}
	return true
}

// read passes on what the auth sends, until its connection ends. What an event says is
// known before the client has it: the client's next frame may come at once.
func (u *upstream[T]) read() {
	for {
		kind, message, err := u.conn.Read(u.s.ctx)
		if err != nil {
			u.end(err)
			return
		}
		var over *running[T]
		if kind == websocket.MessageText {
			id := gjson.GetBytes(message, "stream_id").String()
			u.mu.Lock()
			run := u.running[id]
			u.mu.Unlock()
			if run != nil && run.turn.Event(message) {
				u.mu.Lock()
				delete(u.running, id)
				u.mu.Unlock()
				over = run
				if run.turn.Elsewhere() {
					message = again(id, run.frame)
				}
			}
		}
		if u.s.client.Write(u.s.ctx, kind, message) != nil {
			u.s.cancel() // the client has left
		}
		if over != nil {
			over.done <- nil
		}
	}
}

// end ends the turns whose answers cannot come any more.
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
