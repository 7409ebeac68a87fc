package affinity

// Result is how a request went, as far as the session's place is concerned.
type Result uint8

const (
	// Unlisted: nobody knows what the answer means. Nothing changes until it has
	// come Options.Unlisted times in a row; then the session leaves the auth.
	Unlisted Result = iota
	// Served: the auth answered. The binding is confirmed and its TTL starts
	// again.
	Served
	// Transient: the auth failed in a way that passes (408, 429, 5xx, a broken
	// connection). A session that was served before stays bound and takes a detour
	// for a while. A session that never was loses its auth, unless another request
	// of it is still under way.
	Transient
	// Terminal: the auth cannot serve the session any more (401, 402, 403, unknown
	// model). The session leaves the auth.
	Terminal
	// Rejected: the request itself is at fault (400, 413, 422 …). Nothing changes.
	Rejected
	// Cancelled: the client went away. The auth is not to blame. A session that
	// was served before stays bound. A session that never was loses its auth,
	// unless another request of it is still under way.
	Cancelled
)

var resultNames = [...]string{"unlisted", "served", "transient", "terminal", "rejected", "cancelled"}

// String is the result in lower case, fit for a metric label.
func (r Result) String() string { return nameOf(resultNames[:], int(r)) }
