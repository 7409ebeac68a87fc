package affinityhttp

import "io"

// inflater decompresses an answer while it is passed on: Write writes the decompressed bytes
// to to before it returns. Decoders read, but answers are written, so each answer has a
// goroutine. Close ends it. Only one goroutine may use an inflater.
type inflater struct {
	in     chan []byte   // the bytes of Write; closed at the end
	hungry chan struct{} // all of them were read, and more are wanted
	done   chan struct{} // the decoder has ended
	left   []byte        // the reader's: bytes that it has not returned yet
	fed    bool          // the reader's: it has got bytes since it was hungry
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
		// If decompressing fails, the answer is no longer watched, but still passed on.
		_, _ = io.Copy(to, d)
	}()
	return f
}

// Read is called by the decoder.
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

// Write returns when all of p was decompressed. It never fails.
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

// Close ends the input, and waits until all of it was decompressed.
func (f *inflater) Close() error {
	close(f.in)
	<-f.done
	return nil
}
