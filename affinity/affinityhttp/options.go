package affinityhttp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Options of a Transport. nil is the zero value, which works. Functions are called on
// the goroutine of the request, from many goroutines at once. They must be quick.
type Options[T any] struct {
	// Affinity are the options of the affinity. Its State is asked first; the Transport
	// adds which auths rest and, where State gives no Load, how many requests are in
	// flight. If Load is the zero value, up to 8 requests are never too much.
	// RequireOwner is always on: a request that names state waits for the auth that has
	// it, as 503 says, unless that auth is gone.
	Affinity affinity.Options[T]

	// Describe changes what the Transport has found out about a request: Tenant, Pool,
	// Model, Side, Off and the like. in is the request as it came. Tenant is a digest of
	// the client's credential (see the package), Pool the API by the path, Model that of
	// the body or the path. Off is what belongs to no conversation, such as embeddings.
	// nil changes nothing.
	Describe func(in *http.Request, r *affinity.Request)
	// TenantKey keys the digest of a client's credential that is its Tenant. Give it if
	// bindings outlive the process: with a Store that others share, and with SaveFile.
	// Keep it as secret as the bindings. nil is a random key for this process.
	TenantKey []byte

	// Base sends the requests. nil is a transport of the Transport's own, like
	// http.DefaultTransport, with more idle connections for each host and without
	// decompression. How long one auth may take is its matter.
	Base http.RoundTripper
	// MaxBody is how many bytes of a request's body are held, to look into it and to
	// send it again. A larger body is passed on as it streams: it is known by its header
	// alone and tried once. 0 is 64 MiB.
	MaxBody int64
	// Zstd opens bodies with Content-Encoding zstd. This module has no decoder of its
	// own. nil leaves them alone.
	Zstd func(io.Reader) (io.ReadCloser, error)

	// Attempts is how many auths one request may try. Asking the same one again after
	// having waited for it does not count. 0 is 4.
	Attempts int
	// Within is how long a request may take until the first byte of its answer, over all
	// attempts and waits, from when its body is there. What is under way then is
	// cancelled. How long a client may take to send its body is the server's matter. 0 is
	// 10 minutes.
	Within time.Duration
	// Patience is how long one request may wait, in all and at most three times, for an
	// auth where its prompt cache is warm and that has asked to be left alone for a
	// moment, see affinity.Request. Then another one is asked. 0 never waits. It ends with
	// the client's context.
	Patience time.Duration
	// Repeat says whether a request may be sent to another auth after it may have had an
	// effect at the first one: a connection that broke, a 500. A request that was refused
	// (401, 429, 503 …) or could not be sent had none. nil is [Repeatable].
	Repeat func(in *http.Request, r affinity.Request) bool

	// DecisionHeader, if not empty, is the name of a header of each answer of an auth that
	// says what was decided: "auth=…; outcome=…; reason=…; signal=…; session=…". The session is its
	// stable name.
	DecisionHeader string
	// OnAttempt, if not nil, is called once for each attempt when it has ended: a stream
	// ends with its last byte.
	OnAttempt func(Attempt)
}

// Attempt is what came of sending a request to one auth. All of it but Err is safe to
// log: the error of a host's own function is the host's.
type Attempt struct {
	Decision affinity.Decision
	// Number counts the attempts of one request from 1.
	Number int
	// Status is the answer's. It is 0 if there was no answer.
	Status int
	// Err is why there was no answer, or why its body broke off.
	Err error
	// Result is what was reported, at last.
	Result affinity.Result
	// Away is for how long the auth has asked to be left alone, 0 for nothing.
	Away time.Duration
	// FirstToken is how long it took until the answer said something. It is 0 unless the
	// answer was streamed.
	FirstToken time.Duration
	// Usage is what the answer says that it has cost.
	Usage affinity.Usage
}

const (
	defaultMaxBody  = 64 << 20
	defaultAttempts = 4
	defaultWithin   = 10 * time.Minute
	// defaultLeast are requests in flight that are never too much: a few more or less are
	// chance.
	defaultLeast = 8
)

// settings are checked Options with their defaults.
type settings[T any] struct {
	Options[T]
	state func(T, affinity.Request) affinity.State // the host's
	http  sessionid.HTTPOptions
}

func check[T any](o *Options[T], old *settings[T]) (*settings[T], error) {
	s := &settings[T]{}
	if o != nil {
		s.Options = *o
	}
	switch {
	case s.MaxBody < 0:
		return nil, fmt.Errorf("affinityhttp: Options.MaxBody is %d", s.MaxBody)
	case s.Attempts < 0:
		return nil, fmt.Errorf("affinityhttp: Options.Attempts is %d", s.Attempts)
	case s.Within < 0:
		return nil, fmt.Errorf("affinityhttp: Options.Within is %v", s.Within)
	case s.Patience < 0:
		return nil, fmt.Errorf("affinityhttp: Options.Patience is %v", s.Patience)
	case s.DecisionHeader != "" && !isHeaderName(s.DecisionHeader):
		return nil, fmt.Errorf("affinityhttp: Options.DecisionHeader is %q, which is no header's name", s.DecisionHeader)
	case s.TenantKey != nil && len(s.TenantKey) < 16:
		return nil, errors.New("affinityhttp: Options.TenantKey is shorter than 16 bytes")
	}
	if s.MaxBody == 0 {
		s.MaxBody = defaultMaxBody
	}
	if s.Attempts == 0 {
		s.Attempts = defaultAttempts
	}
	if s.Within == 0 {
		s.Within = defaultWithin
	}
	if s.Repeat == nil {
		s.Repeat = Repeatable
	}
	switch {
	case s.TenantKey != nil:
	case old != nil:
		s.TenantKey = old.TenantKey
	default:
		s.TenantKey = make([]byte, 32)
		_, _ = rand.Read(s.TenantKey) // it never fails
	}
	if s.Affinity.Load == (affinity.LoadPolicy{}) {
		s.Affinity.Load.Least = defaultLeast
	}
	s.Affinity.RequireOwner = true
	s.state = s.Affinity.State
	s.http = sessionid.HTTPOptions{MaxBody: s.MaxBody, Decompress: true, Zstd: s.Zstd}
	return s, nil
}

// isHeaderName reports whether s is a token of HTTP, RFC 9110, 5.6.2.
func isHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f {
			return false
		}
		switch c {
		case '"', '(', ')', ',', '/', ':', ';', '<', '=', '>', '?', '@', '[', '\\', ']', '{', '}':
			return false
		}
	}
	return s != ""
}
