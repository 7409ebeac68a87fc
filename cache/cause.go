package cache

// Cause is why a binding ended. The zero Cause is none.
type Cause uint8

// The causes. After Unbound, Released and AuthInvalidated the session still exists, without an
// auth. After the others it is gone.
const (
	Expired         Cause = 1 + iota // idle for the TTL; found by a later operation, or by Sweep
	Evicted                          // the store held more than MaxSessions
	EvictedByTenant                  // the tenant had more than MaxPerTenant
	Unbound                          // Unbind: the auth cannot serve the session any more
	Released                         // Release: the auth failed before it ever served the session
	Invalidated                      // InvalidateSession, or InvalidateTenant without an auth
	AuthInvalidated                  // InvalidateAuth, or InvalidateTenant with an auth
)

var causeNames = [...]string{"none", "expired", "evicted", "evicted-by-tenant", "unbound", "released", "invalidated", "auth-invalidated"}

// String is the cause in lower case with dashes, fit for a metric label.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "unknown"
}
