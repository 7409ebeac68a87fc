package affinityws

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// lane is one stream of a connection. Its turns are served one after another.
type lane[T any] struct {
	s    *socket[T]
	id   string
	up   *upstream[T] // the connection of its last turn
	wake chan struct{}

	mu    sync.Mutex
	queue []message
}

// maxWaiting is how many messages wait in a lane.
const maxWaiting = 16

// put adds a message to the lane. It returns false if too many wait.
func (l *lane[T]) put(m message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > maxWaiting {
		return false
	}
	l.queue = append(l.queue, m)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// next returns the first message that waits. With turns false it leaves a turn waiting.
func (l *lane[T]) next(turns bool) (m message, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.queue[0].turn && !turns {
		return m, false
	}
	m = l.queue[0]
	l.queue[0] = message{}
	l.queue = l.queue[1:]
	l.s.release(&m)
	return m, true
}

func (l *lane[T]) run() {
	defer l.s.guard()
	for {
		select {
		case <-l.s.ctx.Done():
			return
		case <-l.wake:
		}
		for m, ok := l.next(true); ok && l.s.ctx.Err() == nil; m, ok = l.next(true) {
			if m.turn {
				l.serve(m.text)
			} else {
				l.forward(m.text)
			}
		}
	}
}

// serve sends a turn to the auth of its session, and waits until it is answered.
func (l *lane[T]) serve(frame []byte) {
	s := l.s
	defer s.ended()
	turn := s.h.t.Turn(s.in, frame)
	defer turn.Abandon() // if a function of the host panics
	var refusal *http.Response
	var failure error // of the auth that says most
	for {
		auth, err := turn.Next()
		switch {
		case err != nil && failure != nil:
			l.fail(refusal, failure)
			return
		case err != nil:
			l.refuse(frame, err)
			return
		}
		name := turn.Decision().Auth
		if s.h.isDeaf(name) {
			turn.Skip()
			continue
		}
		sent, resp, err := l.send(auth, name, turn, frame)
		if sent {
			return
		}
		if err == errNoFrames { // of no auth
			turn.Skip()
			l.fail(nil, err)
			return
		}
		if saysDeaf(resp) {
			s.h.markDeaf(name)
			turn.Skip()
			continue
		}
		again := turn.Failed(resp, err)
		if failure == nil || !isCredential(resp) {
			refusal, failure = resp, err
		}
		if !again {
			l.fail(refusal, failure)
			return
		}
	}
}

// isCredential reports whether an auth's own credential was refused, which the client cannot
// correct.
func isCredential(resp *http.Response) bool {
	return resp != nil && resp.StatusCode >= 401 && resp.StatusCode <= 403
}

// send sends a turn to an auth, and waits until it is answered, or until the client was told
// why it is not. sent says that the auth may have the frame. If the connection has ended
// before the frame was written, as idle ones do, it is replaced once.
func (l *lane[T]) send(auth T, name string, turn *affinityhttp.Turn[T], frame []byte) (sent bool, resp *http.Response, err error) {
	for range 2 {
		run, resp, err := l.s.begin(auth, name, l.id, turn, frame)
		if err != nil {
			return false, resp, err
		}
		l.up = run.up
		sent = run.up.send(frame)
		if err = l.await(run); err == nil {
			return true, nil, nil
		}
		if sent {
			turn.Broken(err)
			l.broken(err)
			return true, nil, nil
		}
	}
	return false, nil, errors.New("affinityws: the auth closes its connections at once")
}

// await waits for the end of an answer, and passes on the client's messages meanwhile. If an
// auth sends nothing for Options.Within of the Transport, its connection is closed.
func (l *lane[T]) await(run *running[T]) error {
	late := time.NewTimer(run.turn.Left())
	defer late.Stop()
	var slow bool
	for {
		select {
		case err := <-run.done:
			if err != nil && slow {
				err = context.DeadlineExceeded
			}
			return err
		case <-l.wake:
			for m, ok := l.next(false); ok; m, ok = l.next(false) {
				l.forward(m.text)
			}
		case <-late.C:
			if !run.begun.Load() {
				slow = true
				run.up.conn.CloseNow()
			}
		}
	}
}

// forward sends a message that is no turn over the connection of the stream's last turn.
func (l *lane[T]) forward(text []byte) {
	if l.up == nil || !l.up.send(text) {
		l.s.tell(errorEvent(l.id, http.StatusBadRequest, "invalid_request_error", "invalid_event", "there is no response under way for this event", nil))
	}
}
