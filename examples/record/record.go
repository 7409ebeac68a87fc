package record

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Request is one request, with its outcome.
type Request struct {
	// At is when the request was sent. Took is how long it took until its answer had ended.
	At   time.Time
	Took time.Duration
	// Path, Header and Body are the client's.
	Path   string
	Header http.Header
	Body   []byte
	// Usage is what the answer has cost, as far as is known.
	Usage affinity.Usage
}

// line is a line of a recording.
type line struct {
	Millis  float64         `json:"timestamp"`
	Took    float64         `json:"took,omitempty"`
	Path    string          `json:"path,omitempty"`
	Headers http.Header     `json:"headers"`
	Body    json.RawMessage `json:"body,omitempty"`
	Usage   *usage          `json:"usage,omitempty"`
}

type usage struct {
	Prompt  int `json:"prompt"`
	Cached  int `json:"cached,omitempty"`
	Written int `json:"written,omitempty"`
	Output  int `json:"output,omitempty"`
}

// Recorder writes a recording. Any number of goroutines may use it.
type Recorder struct {
	d digester

	mu    sync.Mutex
	w     io.Writer
	begun time.Time // the first request
	err   error     // the error of the first write that failed
}

// New makes a Recorder with a key of its own. It writes whole lines to w, one with each Write.
func New(w io.Writer) (*Recorder, error) {
	r := &Recorder{w: w}
	if _, err := rand.Read(r.d.key[:]); err != nil {
		return nil, err
	}
	return r, nil
}

// Record writes one request, and keeps nothing of it. After the first error of the writer
// nothing more is written, and all calls return that error.
func (r *Recorder) Record(q Request) error {
	l := line{
		Took: millis(q.Took), Path: r.d.path(q.Path), Headers: r.d.header(q.Header), Body: r.d.body(q.Body),
	}
	if !q.Usage.IsZero() {
		l.Usage = &usage{q.Usage.Prompt, q.Usage.Cached, q.Usage.CacheWritten, q.Usage.Output}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if r.begun.IsZero() {
		r.begun = q.At
	}
	l.Millis = millis(q.At.Sub(r.begun)) // below 0 for a request that was sent before the first one that ended
	text, err := marshal(l)
	if err != nil {
		return err
	}
	_, r.err = r.w.Write(text)
	return r.err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// marshal is json.Marshal without escapes for HTML, and with a line end.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// Parse reads a line of a recording. It also reads requests without digests: headers may be an
// object, of strings or of lists of strings, or a list of pairs, and the body may be an object
// or a string. Times count from the zero time.
func Parse(text []byte) (Request, error) {
	q, err := ParseDigests(text)
	q.Body = Expand(nil, q.Body)
	return q, err
}

// ParseDigests is Parse without the texts, for callers that hold many requests. The body has
// digests, and Expand makes texts of them.
func ParseDigests(text []byte) (q Request, err error) {
	if !json.Valid(text) {
		return q, errors.New("the line is not JSON")
	}
	l := gjson.ParseBytes(text)
	if !l.Get("headers").Exists() && !l.Get("body").Exists() {
		return q, errors.New("a recorded request must have headers or a body")
	}
	q.At = time.Time{}.Add(time.Duration(l.Get("timestamp").Float() * float64(time.Millisecond)))
	q.Took = time.Duration(l.Get("took").Float() * float64(time.Millisecond))
	q.Path = l.Get("path").String()
	q.Header = http.Header{}
	l.Get("headers").ForEach(func(name, v gjson.Result) bool {
		switch {
		case v.IsArray() && name.Type == gjson.String:
			for _, one := range v.Array() {
				q.Header.Add(name.String(), one.String())
			}
		case v.IsArray() && len(v.Array()) == 2: // a pair
			q.Header.Add(v.Array()[0].String(), v.Array()[1].String())
		case v.Type == gjson.String:
			q.Header.Add(name.String(), v.String())
		default:
			err = fmt.Errorf("the value of a header is %s, want a string or a list", v.Type)
		}
		return err == nil
	})
	if body := l.Get("body"); body.Type == gjson.String {
		q.Body = []byte(body.String())
	} else if body.Exists() {
		q.Body = []byte(body.Raw)
	}
	u := l.Get("usage")
	q.Usage = affinity.Usage{
		Prompt: int(u.Get("prompt").Int()), Cached: int(u.Get("cached").Int()),
		CacheWritten: int(u.Get("written").Int()), Output: int(u.Get("output").Int()),
	}
	return q, err
}
