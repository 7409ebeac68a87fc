package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/record"
)

// recording records requests, if -record is given. What was said is not in it, see package
// record.
type recording struct {
	to      *record.Recorder
	maxBody int64
	failed  func(error) // is called with the first error

	mu sync.Mutex
	// usages are the usages that reports have given, until the request has ended. The key is
	// the decision of the request: reports have that, and nothing else of a request.
	usages map[affinity.Decision]affinity.Usage
	once   sync.Once
}

// maxUsages bounds the usages of requests that do not pass serve, such as those of WebSockets.
const maxUsages = 10_000

func newRecording(to *record.Recorder, maxBody int64, failed func(error)) *recording {
	if maxBody == 0 {
		maxBody = 64 << 20 // as affinityhttp holds
	}
	return &recording{to: to, maxBody: maxBody, failed: failed, usages: map[affinity.Decision]affinity.Usage{}}
}

// observe is called with each pick and each report.
func (r *recording) observe(e affinity.Event) {
	if !e.Reported || e.Report.Usage.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.usages) >= maxUsages {
		clear(r.usages)
	}
	r.usages[e.Decision] = e.Report.Usage
}

// take returns the usage that the report of a decision has given, and forgets it.
func (r *recording) take(d affinity.Decision) affinity.Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.usages[d]
	delete(r.usages, d)
	return u
}

// serve lets next serve a request, and records the request when its answer has ended.
func (r *recording) serve(w http.ResponseWriter, in *http.Request, next http.Handler) {
	begun := time.Now()
	header := in.Header.Clone() // next may change it
	in = in.WithContext(affinity.WithPick(in.Context()))
	kept := &keptBody{ReadCloser: in.Body, most: r.maxBody}
	in.Body = kept
	defer func() { // ReverseProxy panics when a client goes away
		var usage affinity.Usage
		if p, ok := affinity.PickFrom[*Auth](in.Context()); ok {
			usage = r.take(p.Decision)
		}
		err := r.to.Record(record.Request{
			At: begun, Took: time.Since(begun), Path: in.URL.Path, Header: header, Body: kept.text(), Usage: usage,
		})
		if err != nil {
			r.once.Do(func() { r.failed(err) })
		}
	}()
	next.ServeHTTP(w, in)
}

// keptBody keeps what is read of a body.
type keptBody struct {
	io.ReadCloser
	most int64

	mu   sync.Mutex // a transport may still read when its answer is there
	kept bytes.Buffer
	over bool
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over = b.over || int64(b.kept.Len()+n) > b.most; b.over {
		b.kept = bytes.Buffer{}
	} else {
		b.kept.Write(p[:n])
	}
	return n, err
}

// text is the body, nil if it was too large.
func (b *keptBody) text() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return nil
	}
	return bytes.Clone(b.kept.Bytes())
}

// openRecording begins a recording. The file must be a new one: two recordings cannot be one
// file, because each has a key of its own.
func openRecording(file string) (*record.Recorder, io.Closer, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, err
	}
	rec, err := record.New(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return rec, f, nil
}
