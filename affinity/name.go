package affinity

import (
	"crypto/sha256"
	"encoding/hex"
)

// SessionName is a name of the session for the provider, for prompt_cache_key,
// session_id and the like, in the form of a uuid: the same over the session's
// turns and moves, nothing that the client sent and nothing it can be traced
// to. With perAuth it differs from auth to auth, so that providers cannot tell
// that two accounts serve one session. Empty if the pick has no session. A value
// that the client has set itself is better left alone: it may be counting on
// it.
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
