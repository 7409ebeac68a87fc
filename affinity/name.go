package affinity

import (
	"crypto/sha256"
	"encoding/hex"
)

// SessionName returns a name of the session for the provider, for prompt_cache_key, session_id
// and the like, in the form of a UUID. It is the same over the session's turns and moves. It
// contains nothing that the client sent, and cannot be traced to it. With perAuth it differs
// from auth to auth, so that providers cannot tell that two accounts serve one session. It is
// empty if the pick has no session. Do not replace a value that the client has set: the client
// may depend on it.
func (d Decision) SessionName(perAuth bool) string {
	if d.Session == [16]byte{} {
		return ""
	}
	h := sha256.New()
	h.Write(d.Session[:])
	if perAuth {
		h.Write([]byte(d.Auth))
	}
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80 // version 8: the maker's own
	u[8] = u[8]&0x3f | 0x80
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
