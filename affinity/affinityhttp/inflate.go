package affinityhttp

import "io"

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
