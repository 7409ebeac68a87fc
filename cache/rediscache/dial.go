package rediscache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/redis/rueidis"
)

const (
	// ringScale makes room for 2^11 operations under way on one connection.
	ringScale = 11
	// maxCalls is how many operations may be under way. Beyond it operations fail at once: an
	// operation that does not fit into a connection's ring would wait there and ignore its
	// context.
	maxCalls = 1024
)

var errBusy = fmt.Errorf("rediscache: too many operations are under way: %d", maxCalls)

// dialer connects when an operation needs the server, once for all operations that wait.
type dialer struct {
	option rueidis.ClientOption
	calls  atomic.Int64
	closed atomic.Bool
	conn   atomic.Pointer[rueidis.Client]
	mu     sync.Mutex
	trying chan struct{} // closed when the attempt has ended; nil if there is none
	failed error         // the error of the last attempt
}

// connect begins to connect, unless that is under way or done. trying is closed when the
// attempt has ended; it is nil if there is none.
func (d *dialer) connect() (trying chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed.Load():
		return nil, cache.ErrClosed
	case d.trying == nil && d.conn.Load() == nil:
		d.trying = make(chan struct{})
		go d.dial(d.trying)
	}
	return d.trying, nil
}

// client returns the connected client. The client itself repairs a connection that breaks.
func (d *dialer) client(ctx context.Context) (rueidis.Client, error) {
	if c := d.conn.Load(); c != nil {
		return *c, nil
	}
	trying, err := d.connect()
	if err != nil {
		return nil, err
	}
	if trying != nil {
		select {
		case <-trying:
		case <-ctx.Done():
			return nil, fmt.Errorf("rediscache: connecting: %w", ctx.Err())
		}
	}
	if c := d.conn.Load(); c != nil {
		return *c, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return nil, fmt.Errorf("rediscache: connecting: %w", d.failed)
}

func (d *dialer) dial(trying chan struct{}) {
	c, err := rueidis.NewClient(d.option)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil:
		d.failed = err
	case d.closed.Load():
		c.Close()
		d.failed = cache.ErrClosed
	default:
		d.conn.Store(&c)
	}
	d.trying = nil
	close(trying)
}

// alive returns ErrClosed after Close.
func (d *dialer) alive() error {
	if d.closed.Load() {
		return cache.ErrClosed
	}
	return nil
}

// Close ends the connections. After it every operation returns cache.ErrClosed. Close waits
// for an attempt to connect. It may be called any number of times, also at once. It returns
// nil.
func (d *dialer) Close() error {
	d.closed.Store(true)
	d.mu.Lock()
	trying := d.trying
	d.mu.Unlock()
	if trying != nil {
		<-trying
	}
	if c := d.conn.Load(); c != nil {
		(*c).Close()
	}
	return nil
}
