package affinityhttp

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// minLoan is the shortest body that is lent. net/http writes a shorter one together with
	// the header, if it knows the reader's type.
	minLoan = 16 << 10
	// maxReused is the longest memory that waits for a later request.
	maxReused = 4 << 20
)

// loan is the memory of a request's body. The call has it, and so has each reader that was opened
// for an auth until it is closed. A Base may close a reader long after it has returned. When the
// last one lets go, the memory is free while the answer still comes, which can take minutes.
type loan struct {
	memory  *bytes.Buffer
	text    []byte // what the memory holds
	holders atomic.Int64
	pool    *sync.Pool // gets the memory in the end, unless it is nil
}

// take adds a holder, unless the last one has let go already.
func (l *loan) take() bool {
	for {
		n := l.holders.Load()
		if n == 0 {
			return false
		}
		if l.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends the loan to one holder.
func (l *loan) release() {
	if l.holders.Add(-1) > 0 {
		return
	}
	if l.pool != nil && l.memory.Cap() <= maxReused {
		l.memory.Reset()
		l.pool.Put(l.memory)
	}
	l.memory, l.text = nil, nil
}

var errReturned = errors.New("affinityhttp: the request has ended, and its body is gone")

// open returns a reader of the whole body.
func (l *loan) open() (io.ReadCloser, error) {
	if !l.take() {
		return nil, errReturned
	}
	return &lent{of: l}, nil
}

// lent reads a body that is lent. Once it is closed it reads nothing more.
type lent struct {
	of *loan

	mu     sync.Mutex
	at     int // what was read
	closed bool
}

func (b *lent) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errReturned
	}
	rest := b.of.text[b.at:]
	if len(rest) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, rest)
	b.at += n
	return n, nil
}

func (b *lent) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.of.release()
	}
	return nil
}
