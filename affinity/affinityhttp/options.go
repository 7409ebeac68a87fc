package affinityhttp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Options configure a Transport. The zero value is ready to use, and nil means the zero value.
// Functions are called on the goroutine of the request, from many goroutines at once. They
// must be quick.
type Options[T any] struct {
	// Affinity are the options of the Affinity that the Transport makes. The Transport calls
	// its State first, and then adds which auths rest. RequireOwner is always on: a request
	// that names state goes only to the auth that has it, and is answered with 503 while that
	// auth cannot serve. If that auth is no longer a candidate, or has refused its credential,
	// the request goes to another one, whose provider tells the client that the state is gone.
	//
	// New sessions go where the balancer sends them, however many requests are in flight
	// there, unless Affinity.Load is set. If it is, the requests in flight are the loads, as
	// long as State returns none. LoadPolicy{Least: 8} then keeps new sessions away from an
	// auth that has more than 8 requests in flight and more than 1.25 times the mean. If the
	// balancer is weighted, let State return the weights as shares.
	Affinity affinity.Options[T]

	// Describe changes what the Transport has found out about a request: Tenant, Pool, Model,
	// Side, Off and the like. in is the request as it came. Tenant is a digest of the client's
	// credential (see the package), Pool is the API that the path names, and Model is that of
	// the body or the path. Off is set for requests that belong to no conversation, such as
	// embeddings. nil changes nothing.
	Describe func(in *http.Request, r *affinity.Request)
	// TenantKey is the key of the digest that makes a Tenant of a client's credential. Set it
	// if bindings outlive the process: with a shared Store, and with SaveFile, which is an
	// error if a random key has made a Tenant. It has at least 16 bytes, the same in each process
	// that shares the bindings: with another key their sessions are not found. Keep it as secret
	// as the bindings. nil is a random key for this process.
	TenantKey []byte

	// Base sends the requests. nil is a transport of the Transport's own, like
	// http.DefaultTransport, with more idle connections for each host and without
	// decompression. To limit the time of one auth, set a timeout in Base.
	Base http.RoundTripper
	// MaxBody is the largest body of a request, in bytes, that is held, to read it and to send
	// it again. A larger body is streamed: its session is found by its header alone, and it is
	// sent once. 0 is 64 MiB; a negative number is an error.
	MaxBody int64
	// ReuseBodies lets the body of a request use the memory of an earlier one. That spares a
	// gateway of long prompts most of its garbage. Set it only if none of your functions keeps
	// the Body of an affinity.Request, or a slice of it, after it has returned: that would become
	// the body of another client. All strings of a Request are copies. Base need not care: a body
	// whose memory is reused reads nothing after it was closed.
	ReuseBodies bool
	// Zstd decompresses bodies with Content-Encoding zstd. This module has no decoder of its
	// own. With nil such bodies are not read.
	Zstd func(io.Reader) (io.ReadCloser, error)

	// Attempts is how many auths one request may try. Trying the same one again after a wait
	// does not count. 0 is 4.
	Attempts int
	// Within is how long a request may take from the end of its body to the first byte of its
	// answer, over all attempts and waits. After that the attempt under way is cancelled. The
	// time in which the client sends its body does not count; limit it in the http.Server. A
	// deadline of the request's own context counts as the client's, which blames no auth: so if
	// the gateway sets one, set a shorter Within. 0 is 10 minutes.
	Within time.Duration
	// Patience is how long one request may wait, in total and at most three times, for an auth
	// with a warm prompt cache that has asked to be avoided for a moment, see
	// affinity.Request. After that another auth is tried. With 0 no request waits. A wait ends
	// with the client's context.
	Patience time.Duration
	// Repeat says whether a request may be sent to another auth after it may have had an
	// effect at the first one, for example before a connection broke or a 500 came. A request
	// that was refused (401, 429, 503 …) or could not be sent had none. nil is [Repeatable].
	Repeat func(in *http.Request, r affinity.Request) bool

	// DecisionHeader, if not empty, is the name of a header that is added to each answer of an
	// auth. Its value is affinity.Decision.String: "auth=…; outcome=…; reason=…; signal=…;
	// session=…".
	DecisionHeader string
	// OnAttempt, if not nil, is called once for each attempt when it has ended. A stream ends
	// with its last byte. ctx has the values of the request's context and is never done.
	OnAttempt func(ctx context.Context, a Attempt)
}

// Attempt describes how sending a request to one auth has ended. Everything except Err is safe
// to log: Err may be the error of a function of the host.
type Attempt struct {
	Decision affinity.Decision
	// Tenant is that of the request: a digest, or what Describe has made of it, for example the
	// name of the caller to whom Usage is charged.
	Tenant string
	// Pool and Model are those of the request, as affinity.LogName returns them.
	Pool, Model string
	// Number counts the attempts of one request from 1.
	Number int
	// Status is the answer's. It is 0 if there was no answer.
	Status int
	// Err is why there was no answer, or why reading its body failed.
	Err error
	// Result is what was reported to the Affinity in the end.
	Result affinity.Result
	// Away is for how long the auth has asked to be avoided, 0 if it has not asked.
	Away time.Duration
	// FirstToken is how long the first token of the answer took. It is 0 unless the answer was
	// streamed.
	FirstToken time.Duration
	// Usage is what the answer has cost, as it says. It is zero if the answer does not say, or is
	// not read, see Bedrock.
	Usage affinity.Usage
}

const (
	defaultMaxBody  = 64 << 20
	defaultAttempts = 4
	defaultWithin   = 10 * time.Minute
)

// settings are checked Options with their defaults.
type settings[T any] struct {
	Options[T]
	state func(T, affinity.Request) affinity.State // the host's
	// flying says that the requests in flight are loads, as long as state has returned none.
	flying atomic.Bool
	// fleeting is set when TenantKey has named a tenant and is this process's own. It is nil if
	// the host has set TenantKey.
	fleeting *atomic.Bool
	http     sessionid.HTTPOptions
	pool     *sync.Pool // of *bytes.Buffer; nil unless ReuseBodies is set
}

func check[T any](o *Options[T], old *settings[T]) (*settings[T], error) {
	s := &settings[T]{}
	if o != nil {
		s.Options = *o
	}
	switch {
	case s.MaxBody < 0:
		return nil, fmt.Errorf("affinityhttp: Options.MaxBody is %d, want at least 0", s.MaxBody)
	case s.Attempts < 0:
		return nil, fmt.Errorf("affinityhttp: Options.Attempts is %d, want at least 0", s.Attempts)
	case s.Within < 0:
		return nil, fmt.Errorf("affinityhttp: Options.Within is %v, want at least 0", s.Within)
	case s.Patience < 0:
		return nil, fmt.Errorf("affinityhttp: Options.Patience is %v, want at least 0", s.Patience)
	case s.DecisionHeader != "" && !isHeaderName(s.DecisionHeader):
		return nil, fmt.Errorf("affinityhttp: Options.DecisionHeader is %q, want the name of a header", s.DecisionHeader)
	case s.TenantKey != nil && len(s.TenantKey) < 16:
		return nil, errors.New("affinityhttp: Options.TenantKey has less than 16 bytes")
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
	if s.ReuseBodies {
		s.pool = new(sync.Pool)
	}
	switch {
	case s.TenantKey != nil:
	case old != nil:
		s.TenantKey, s.fleeting = old.TenantKey, old.fleeting
	default:
		s.fleeting = new(atomic.Bool)
		s.TenantKey = make([]byte, 32)
		_, _ = rand.Read(s.TenantKey) // it never fails
	}
	// A Bound that nobody has asked for would overrule the balancer: a weighted one, and one
	// that fills auths up.
	s.flying.Store(s.Affinity.Load != (affinity.LoadPolicy{}))
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
