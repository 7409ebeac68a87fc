package affinity

import (
	"encoding/binary"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Request is what Pick needs to know of a request. Pick changes nothing in it
// and keeps nothing of it. Tenant, Pool and Model are the scope of a session:
// the same id in two scopes is two sessions.
type Request struct {
	// Tenant is who is calling, as the gateway has authenticated the caller.
	// Leave it empty only if all callers trust each other: inside one tenant,
	// whoever knows a session's id can use the session's binding and move it.
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
	// Path, if not empty, is the path of the request. Some requests name a
	// conversation only there, see sessionid.ID.WithPath.
	Path string
	// Tokens is how long the prompt is, for Options.Loads. With 0 the Affinity takes the
	// length of Body for it, and what earlier answers have said of theirs (Report.Usage).
	Tokens int
	// ID, if not nil, is the session. Header, Body and Path are then not looked at.
	ID *sessionid.ID
	// Side says that the request stands beside the conversation: a token count,
	// a title, a quota probe. It goes where its session is bound. It makes,
	// moves and renews no binding, and what is reported of it changes nothing.
	Side bool
	// Ownerless says that the request goes on as if it named no state: the auth that has
	// it is gone.
	Ownerless bool
	// Off says that this request has no session: the balancer chooses, and
	// nothing is looked up or bound.
	Off bool
	// Force names the auth that serves this request, whatever State says. If it is
	// no candidate, or among Tried, Pick returns a NoAuthError. Nothing is bound.
	Force string
	// Patience is how long this request may wait instead of paying for a cold prompt
	// elsewhere. If the prompt cache of the session's auth is warm, and the auth has said
	// that it is back within Patience, Pick chooses nobody and returns a NoAuthError that
	// Waits. Then wait until its Until, and pick again. The same holds for an auth that
	// has state which the request names. 0 never waits.
	Patience time.Duration
	// Tried names the auths that this request was sent to already and that could
	// not serve it. Pick chooses none of them. A session that is bound to one of
	// them takes a detour. Report how each of them went before the next Pick.
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

// keysOf are the keys that the store knows a session by.
func keysOf(id *sessionid.ID) (k cache.Keys) {
	weak := id.Weak()
	n := id.Leading()
	copy(k.Names[:], id.Names()[:n])
	// The others are bound and do not find the session: a proxy may stamp one on
	// everybody.
	also := copy(k.Also[:], id.Names()[n:])
	switch {
	case n == 0: // prompt_cache_key names the session only if nothing better does
		k.Names[0] = weak
	case weak != sessionid.Key{}:
		k.Also[also] = weak
	}
	k.End, k.Past = id.End(), id.Fallbacks()
	if tail := id.Tail(); tail != (sessionid.Key{}) {
		k.Also[0] = tail
	}
	for i := range copy(k.Marks[:], id.Marks()) {
		k.MarksFrom[i] = id.MarksFrom(i)
	}
	k.Ongoing = id.Ongoing()
	return k
}

// placement is a number for balancers that place by a hash. A session with an
// explicit id that comes back after its binding has expired has the same number.
func placement(s *cache.Scope, primary sessionid.Key) uint64 {
	var buf [256]byte
	b := buf[:0]
	for _, part := range [...]string{s.Tenant, s.Pool, s.Model} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return xxhash.Sum64(append(b, primary[:]...))
}
