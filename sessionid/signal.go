package sessionid

// Signal is a place in a request that names a session, or something else of the
// request, such as its subagent.
type Signal struct {
	Name   string // the header's name, the body's path, or "content"
	Kind   Kind   // what sort of place it is
	Client string // who is known to send it, for humans
}

// Kind sorts signals by their place and strength.
type Kind uint8

const (
	KindNone          Kind = iota // no session
	KindOwn                       // the operator's own places, see Options.Own
	KindNativeHeader              // a header that one client sends for its own sessions
	KindNativeBody                // a body member that one client sends for its own sessions
	KindGenericHeader             // a header that many clients and proxies use
	KindBody                      // a body member that names the conversation
	KindCacheKey                  // prompt_cache_key
	KindGuarded                   // a place that counts only where a second sign says that it names a session
	KindContent                   // the conversation itself
	KindPattern                   // any other header x-*-session-id; not in DefaultOrder
	KindUser                      // metadata.user_id that names a user; not in DefaultOrder
	KindLane                      // a subagent, see ID.Lane; names no session
	KindParent                    // what a subagent came from, see ID.Parent; names no session
	KindOwner                     // state that only one auth has, in the body, see ID.Owners; names no session
	KindOwnerHeader               // state that only one auth has, in a header; names no session
	KindSide                      // says that the request is no turn of the conversation, see ID.Side; names no session
)

var kindNames = [...]string{
	"none", "own", "native-header", "native-body", "generic-header", "body", "cache-key", "guarded", "content",
	"pattern", "user", "lane", "parent", "owner", "owner-header", "side",
}

// String returns the kind's name in lower case with dashes, fit for a metric
// label.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// inHeader reports whether a row of this kind is a header.
func (k Kind) inHeader() bool { return k == KindNativeHeader || k == KindGenericHeader }
