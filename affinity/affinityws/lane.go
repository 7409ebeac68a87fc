package affinityws

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// lane is one stream of a connection: its turns come one after another.
type lane[T any] struct {
	s      *session[T]
	id     string
	frames chan []byte
	up     atomic.Pointer[upstream[T]] // where its last turn went
}

// maxWaiting is how many turns wait in a lane.
const maxWaiting = 16

func (l *lane[T]) run() {
	for {
		select {
		case <-l.s.ctx.Done():
			return
		case frame := <-l.frames:
			l.serve(frame)
			l.s.ended()
		}
	}
}

// serve sends a turn to the auth of its session, and waits until it is answered.
func (l *lane[T]) serve(frame []byte) {
	s := l.s
	turn := s.h.t.Turn(s.in, frame)
	var refusal *http.Response // of the auth that was asked last
	var failure error
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
		if s.h.refuses(name) {
			turn.Skip()
			continue
		}
		sent, resp, err := l.send(auth, name, turn, frame)
		if sent {
			if err != nil && s.ctx.Err() == nil {
				s.tell(errorEvent(l.id, http.StatusBadGateway, "server_error", "upstream_closed", "the provider has closed the connection before the response has ended", nil))
			}
			return
		}
		if isDeaf(resp) {
			s.h.refuse(name)
			turn.Skip()
			continue
		}
		again := turn.Failed(resp, err)
		if refusal, failure = resp, err; !again {
			l.fail(resp, err)
			return
		}
	}
}

// send sends a turn to an auth, and waits until it is answered. sent says that the auth may
// have the frame; err is then why its answer has not ended. A connection that has ended
// before the frame was written, as idle ones do, is replaced once.
func (l *lane[T]) send(auth T, name string, turn *affinityhttp.Turn[T], frame []byte) (sent bool, resp *http.Response, err error) {
	for range 2 {
		run, resp, err := l.s.begin(auth, name, l.id, turn, frame)
		if err != nil {
			return false, resp, err
		}
		l.up.Store(run.up)
		sent = run.up.send(frame)
		if err = <-run.done; err == nil {
			return true, nil, nil
		}
		if sent {
			turn.Broken(err)
			return true, nil, err
		}
	}
	return false, nil, errors.New("affinityws: the auth ends its connections at once")
}

// forward sends a message that is no turn where the stream's last turn went.
func (l *lane[T]) forward(message []byte) {
	switch up := l.up.Load(); {
	case up != nil:
		up.send(message)
	case !gjson.ValidBytes(message):
		l.s.tell(errorEvent(l.id, http.StatusBadRequest, "invalid_request_error", "invalid_json", "a message is a JSON object", nil))
	default:
		l.s.tell(errorEvent(l.id, http.StatusBadRequest, "invalid_request_error", "invalid_event", "there is no response that this could be for", nil))
	}
}
