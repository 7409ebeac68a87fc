package affinityhttp

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// pass returns the answer for the client. The result is reported when the answer has ended.
func (a *attempt[T]) pass() *http.Response {
	if a.watch == nil {
		a.report(a.result)
		return a.passUnwatched()
	}
	if a.result == affinity.Served {
		a.begun()
	} else {
		a.report(a.result)
	}
	a.ownsTurn()
	a.sign()
	a.resp.Body = &passing[T]{r: &a.receipt, from: a.resp.Body, end: a.end}
	return a.resp
}

// passUnwatched returns an answer whose result is already known.
func (a *attempt[T]) passUnwatched() *http.Response {
	a.tell()
	a.sign()
	a.resp.Body = a.unwatched(a.close)
	return a.resp
}

// sign adds Options.DecisionHeader to the answer.
func (a *attempt[T]) sign() {
	a.resp.Request = a.in
	if name := a.conf.DecisionHeader; name != "" {
		a.resp.Header.Set(name, a.pick.Decision.String())
	}
}

// end reports how an answer has ended.
func (a *attempt[T]) end(err error) {
	if result := a.ended(err); result != a.result || result == affinity.Served {
		a.report(result)
	}
	a.tell()
}

// unwatched returns the body of an answer that is not watched, from its first byte.
func (r *receipt[T]) unwatched(end func()) io.ReadCloser {
	return &unwatched{
		Reader:  io.MultiReader(bytes.NewReader(r.first), after{r.broken, r.resp.Body}),
		close:   end,
		refused: r.refused(),
	}
}

// unwatched is the body of an answer that is not watched.
type unwatched struct {
	io.Reader
	once    sync.Once
	close   func()
	refused bool
}

func (p *unwatched) Close() error {
	p.once.Do(p.close)
	return nil
}

// after returns a body after the part that was read already.
type after struct {
	ended error
	from  io.Reader
}

func (r after) Read(p []byte) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	return r.from.Read(p)
}

// passing is the body of an answer on its way to the client. The Affinity knows the answer
// before the client has its last byte, because the client's next request may come at once.
type passing[T any] struct {
	r    *receipt[T]
	from io.ReadCloser
	end  func(error) // the answer has ended; the error is io.EOF, or why reading it failed

	mu       sync.Mutex // guards the fields that follow, and those of the receipt
	passed   int64
	finished bool
}

// Read passes on the answer as it comes.
func (p *passing[T]) Read(b []byte) (n int, err error) {
	r := p.r
	p.mu.Lock()
	if len(r.first) > 0 || r.broken != nil {
		defer p.mu.Unlock()
		n = copy(b, r.first)
		if r.first = r.first[n:]; len(r.first) == 0 {
			err = r.broken
		}
		p.took(n, err)
		return n, err
	}
	p.mu.Unlock()
	n, err = p.from.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && !p.finished {
		r.look(b[:n])
	}
	p.took(n, err)
	return n, err
}

// took processes the bytes that are about to be passed on, and the error of reading them.
func (p *passing[T]) took(n int, err error) {
	r := p.r
	p.passed += int64(n)
	switch {
	case p.finished:
	case err == io.EOF, err == nil && p.passed == r.resp.ContentLength:
		p.finish(io.EOF)
	case err != nil && r.watch.isWhole():
		p.finish(io.EOF)
	case err != nil:
		p.finish(err)
	case r.watch.isWhole():
		r.tellAnswer()
	}
	if err != nil {
		r.cancel(nil) // not before: trailers follow the last byte
	}
}

// Close ends the answer. If it is called before the end, the client has left.
func (p *passing[T]) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.finished {
		if p.r.broken == io.EOF || p.r.watch.isWhole() {
			p.finish(io.EOF)
		} else {
			p.finish(errLeft)
		}
	}
	defer p.r.cancel(nil)
	return p.from.Close()
}

func (p *passing[T]) finish(err error) {
	p.finished = true
	p.end(err)
}
