package simulator

import (
	"net/http"
	"time"
)

// noCachedContent does not say whether another credential has it.
var noCachedContent = &refusal{status: http.StatusForbidden, message: "CachedContent not found (or permission denied)"}

// cachedLife is how long a cached content lives if its request does not say.
const cachedLife = time.Hour

// expiryOf returns when a cached content with this body expires.
func expiryOf(body object) time.Time {
	if d, err := time.ParseDuration(str(body["ttl"])); err == nil {
		return time.Now().Add(d)
	}
	if t, err := time.Parse(time.RFC3339, str(body["expireTime"])); err == nil {
		return t
	}
	return time.Now().Add(cachedLife)
}

func (st *state) expireAt(t time.Time) {
	st.expires = t
	st.shown["updateTime"], st.shown["expireTime"] = rfc3339(time.Now()), rfc3339(t)
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (s *Server) createCached(c *inquiry) (any, *refusal) {
	q := readGemini(c.body)
	if r := s.known(&gemini, q.model); r != nil {
		return nil, r
	}
	st := &state{head: q.head, said: q.said, tool: q.tool, shown: object{
		"name": "cachedContents/" + newID(), "model": q.model, "createTime": rfc3339(time.Now()),
		"usageMetadata": object{"totalTokenCount": q.tokens()},
	}}
	if name := c.body["displayName"]; name != nil {
		st.shown["displayName"] = name
	}
	st.expireAt(expiryOf(c.body))
	c.account.states.put(str(st.shown["name"]), st)
	return st.shown, nil
}

// cached returns the cached content that the path names.
func cached(answer func(*inquiry, *state) any) func(*inquiry) (any, *refusal) {
	return func(c *inquiry) (any, *refusal) {
		c.id = "cachedContents/" + c.id
		st := c.account.states.get(c.id, 0)
		if st == nil {
			return nil, noCachedContent
		}
		return answer(c, st), nil
	}
}

func showCached(_ *inquiry, st *state) any { return st.shown }

func deleteCached(c *inquiry, _ *state) any {
	c.account.states.byID.Remove(c.id)
	return object{}
}

func patchCached(c *inquiry, st *state) any {
	st.expireAt(expiryOf(c.body))
	return st.shown
}
