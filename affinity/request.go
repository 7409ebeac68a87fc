package affinity

import (
	"encoding/binary"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Request describes a request to Pick, which neither changes nor keeps any of it. Tenant, Pool
// and Model are the scope of a session: the same id in two scopes is two sessions.
type Request struct {
	// Tenant names the caller, as the gateway has authenticated it. Leave it empty only if all
	// callers trust each other: any caller of a tenant that knows a session's id can use and
	// move the session's binding.
	Tenant string
	// Pool names the set of auths, such as the provider. Sessions of two pools
	// are bound independently.
	Pool string
	// Model is the model or model family. A prompt cache belongs to one model.
	Model string
	// Header and Body are the client's. Body is the whole body or nil. A
	// compressed body names no session.
	Header http.Header
	Body   []byte
	// Path, if not empty, is the path of the request's URL. Some requests name a conversation
	// only there, see sessionid.ID.WithPath.
	Path string
	// Tokens is the length of the prompt, for Options.Loads. If it is 0, the Affinity
	// estimates it from the length of Body and from what earlier answers have reported
	// (Report.Usage).
	Tokens int
	// ID, if not nil, is the session. Header, Body and Path are then not read to find it.
	ID *sessionid.ID
	// Owners is state that the request names in a place that package sessionid does not read, for
	// example in its tools. It counts like that of ID.Owners. At most 8 owners count.
	Owners []sessionid.Owner
	// Side says that the request is no turn of the conversation but, for example, a token
	// count, a title or a quota probe. It goes to the auth of its session. It makes, moves and
	// renews no binding, and its reports change nothing.
	Side bool
	// Ownerless says that Pick ignores the state that the request names, because the auth that
	// has the state is gone.
	Ownerless bool
	// Off says that Pick treats the request as one without a session: the balancer chooses,
	// and nothing is looked up or bound.
	Off bool
	// Force names the auth that must serve this request, whatever State says. If that auth is
	// no candidate, or is among Tried, Pick returns a NoAuthError. Nothing is bound.
	Force string
	// Patience is how long this request may wait for a warm prompt cache. If the prompt cache
	// of the session's auth is warm, and the auth has said that it is back within Patience,
	// Pick chooses no auth and returns a NoAuthError whose Waits is true. Wait until its
	// Until, then pick again. The same holds for an auth that has state which the request
	// names. With 0 no request waits.
	Patience time.Duration
	// Tried names the auths that this request was sent to already and that could not serve it.
	// Pick chooses none of them. A session that is bound to one of them takes a detour. Report
	// the result of each before the next Pick.
	Tried []string
}

// where is where a request belongs.
type where struct {
	scope cache.Scope // of the session
	model string      // the request's, also if scope has none; a digest if the name is long
}

// named reports whether one explicit id names the session and there is nothing else.
func named(id *sessionid.ID) bool {
	none := sessionid.Key{}
	return len(id.Names()) == 1 && id.Leading() == 1 && id.Weak() == none && id.End() == none && id.Tail() == none && len(id.Marks()) == 0
}

// keysOf returns the keys by which the store knows a session.
func keysOf(id *sessionid.ID) (k cache.Keys) {
	weak := id.Weak()
	n := id.Leading()
	copy(k.Names[:], id.Names()[:n])
	// The others are bound, but do not find the session: a proxy may set the same one on every
	// request.
	also := copy(k.Also[:], id.Names()[n:])
	switch {
	case n == 0: // prompt_cache_key names the session only if nothing better does
		k.Names[0] = weak
	case weak != sessionid.Key{}:
		k.Also[also] = weak
	}
	k.End, k.Fallbacks = id.End(), id.Fallbacks()
	if tail := id.Tail(); tail != (sessionid.Key{}) {
		k.Also[0] = tail
	}
	for i := range copy(k.Marks[:], id.Marks()) {
		k.MarksFrom[i] = id.MarksFrom(i)
	}
	k.Ongoing = id.Ongoing()
	return k
}

// placement is a number for balancers that choose by a hash. A session with an explicit id
// that returns after its binding has expired has the same number.
func placement(s *cache.Scope, primary sessionid.Key) uint64 {
	var buf [256]byte
	b := buf[:0]
	for _, part := range [...]string{s.Tenant, s.Pool, s.Model} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return xxhash.Sum64(append(b, primary[:]...))
}
