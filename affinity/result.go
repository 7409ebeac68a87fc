package affinity

// Result is how a request went, as far as the session's place is concerned.
type Result uint8

const (
	// Unlisted: nobody knows what the answer means. Nothing changes until it was
	// reported Options.Unlisted times in a row; then the session leaves the auth.
	Unlisted Result = iota
	// Served: the auth answered. The binding is confirmed and its TTL starts
	// again.
	Served
	// Transient: the auth failed in a way that passes (408, 429, 5xx, a broken
	// connection). If the auth has served the session before, the session stays bound
	// and takes a detour for a while. If this is one of the session's first requests
	// at the auth, the others count: when none of them was served and none is under way
	// any more, the session loses the auth. As long as one is, nothing changes, unless
	// the auth has said for how long to leave it alone.
	Transient
	// Terminal: the auth cannot serve the session any more (401, 402, 403, unknown
	// model). The session leaves the auth.
	Terminal
	// Rejected: the request itself is at fault (400, 413, 422 …). Nothing changes.
	Rejected
	// Cancelled: the client went away. The auth is not to blame. If the auth has never
	// served the session, and no other request of the session is under way, the session
	// loses the auth.
	Cancelled
)

var resultNames = [...]string{"unlisted", "served", "transient", "terminal", "rejected", "cancelled"}

// String is the result in lower case, fit for a metric label.
func (r Result) String() string { return nameOf(resultNames[:], int(r)) }
