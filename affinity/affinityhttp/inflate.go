package affinityhttp

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
)

// decoder returns what opens a content encoding; nil if nothing does.
func (s *settings[T]) decoder(encoding string) func(io.Reader) (io.ReadCloser, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
	case "deflate":
		// RFC 9110 means zlib. Some servers send bare deflate.
		return func(r io.Reader) (io.ReadCloser, error) {
			b := bufio.NewReader(r)
			if head, err := b.Peek(2); err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
				return zlib.NewReader(b)
			}
			return flate.NewReader(b), nil
		}
	case "zstd":
		return s.Zstd
	}
	return nil
}

// inflater opens a compressed answer as it passes: what is written to it comes out at
// to, decompressed, before Write returns. Decoders want to read and answers are written,
// so each answer has a goroutine. Close ends it. Only one goroutine may use an inflater.
type inflater struct {
	in     chan []byte   // what was written; closed at the end
	hungry chan struct{} // all of it has been read, and more is wanted
	done   chan struct{} // the decoder has ended
	left   []byte        // the reader's: what it has not handed out yet
	fed    bool          // the reader's: it has got something since it was hungry
}

func newInflater(open func(io.Reader) (io.ReadCloser, error), to io.Writer) *inflater {
	f := &inflater{in: make(chan []byte), hungry: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		d, err := open(f)
		if err != nil {
			return
		}
		defer d.Close()
		// What cannot be read ends the looking, and not the answer.
		_, _ = io.Copy(to, d)
	}()
	return f
}

// Read is the decoder's.
func (f *inflater) Read(p []byte) (int, error) {
	for len(f.left) == 0 {
		if f.fed {
			f.fed = false
			f.hungry <- struct{}{}
		}
		more, ok := <-f.in
		if !ok {
			return 0, io.EOF
		}
		f.left, f.fed = more, true
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// Write returns when all of p has come out. It never fails.
func (f *inflater) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	select {
	case f.in <- p:
	case <-f.done:
		return len(p), nil
	}
	select {
	case <-f.hungry:
	case <-f.done:
	}
	return len(p), nil
}

// Close says that nothing comes any more, and waits until all has come out.
func (f *inflater) Close() error {
	close(f.in)
	<-f.done
	return nil
}
