package affinity

// Result says how a request went, as far as it matters for the session's binding.
type Result uint8

const (
	// Unlisted: the meaning of the answer is not known. Nothing changes until Unlisted was
	// reported Options.Unlisted times in a row; then the session leaves the auth.
	Unlisted Result = iota
	// Served: the auth answered. The binding is confirmed and its TTL starts
	// again.
	Served
	// Transient: the failure is temporary (408, 429, 5xx, a broken connection). If the auth
	// has served the session before, the session stays bound and takes a detour for a while.
	//
	// A new session, which the auth has never served, loses the auth, unless another request
	// of the session is under way there: that one may still be served. Until it is reported
	// nothing changes. But if the auth has said for how long it is to be avoided, or the
	// binding is older than 30 seconds, the session takes a detour meanwhile.
	Transient
	// Terminal: the auth can no longer serve the session (401, 402, 403, unknown model). The
	// session leaves the auth.
	Terminal
	// Rejected: the request itself is at fault (400, 413, 422 …). Nothing changes.
	Rejected
	// Cancelled: the client has cancelled the request. The auth is not at fault. If the auth
	// has never served the session, and no other request of the session is under way, the
	// session loses the auth.
	Cancelled
)

var resultNames = [...]string{"unlisted", "served", "transient", "terminal", "rejected", "cancelled"}

// String returns the result in lower case, fit for a metric label.
func (r Result) String() string { return nameOf(resultNames[:], int(r)) }
