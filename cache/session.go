package cache

import (
	"slices"
	"time"
)

// All functions in this file are called with the lock held.

// find is the order in which keys name a session.
func (c *Cache) find(scope Scope, keys *Keys) *session {
	for _, k := range keys.Names {
		if s := c.at(scope, k); s != nil {
			return s
		}
	}
	if len(keys.Names) > 0 {
		return nil // a weak key must not pull together what names tell apart
	}
	if s := c.at(scope, keys.Weak); s != nil {
		return s
	}
	if s := c.at(scope, keys.End); s != nil && s.latest() == keys.End {
		return s
	}
	for _, k := range keys.Earlier {
		if s := c.at(scope, k); s != nil {
			return s
		}
	}
	for _, k := range keys.EarlierTails {
		if s := c.at(scope, k); s != nil {
			return s
		}
	}
	return nil
}

// at is the live session under one key.
func (c *Cache) at(scope Scope, k Key) *session {
	if k == (Key{}) {
		return nil
	}
	s := c.keys[scoped{scope, k}]
	if s == nil || !s.expires.After(time.Now()) {
		return nil
	}
	return s
}

// live is the session of a stable name.
func (c *Cache) live(name Key) *session {
	s, ok := c.sessions.Peek(name)
	if !ok || !s.expires.After(time.Now()) {
		return nil
	}
	return s
}

func (c *Cache) ifCurrent(b Binding, do func(*session)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.live(b.Session)
	if s == nil || s.b.Gen != b.Gen {
		return false
	}
	do(s)
	return true
}

// use renews the session and binds the keys that it does not have yet.
func (c *Cache) use(s *session, keys *Keys) {
	c.renew(s)
	for _, k := range keys.Names {
		if len(s.names) < maxNames && c.claim(s, k) {
			s.names = append(s.names, k)
		}
	}
	if s.weak == (Key{}) && keys.Weak != (Key{}) && c.claim(s, keys.Weak) {
		s.weak = keys.Weak
	}
	if keys.End != (Key{}) && s.latest() != keys.End {
		c.push(s, &s.ends, firstEnds, firstEnds+recentEnds, keys.End)
	}
	if keys.Tail != (Key{}) && !slices.Contains(s.tails, keys.Tail) {
		c.push(s, &s.tails, 0, recentTails, keys.Tail)
	}
}

// claim binds a key that no live session has.
func (c *Cache) claim(s *session, k Key) bool {
	if k == (Key{}) || c.at(s.scope, k) != nil {
		return false
	}
	c.forgetKey(s.scope, k) // of an expired session
	c.keys[scoped{s.scope, k}] = s
	return true
}

// push makes k the latest of one of the session's lists of keys, from whoever
// has it. Of a full list the oldest one goes that is not among the first kept
// ones.
func (c *Cache) push(s *session, list *[]Key, kept, limit int, k Key) {
	c.forgetKey(s.scope, k)
	if len(*list) == limit {
		delete(c.keys, scoped{s.scope, (*list)[kept]})
		*list = slices.Delete(*list, kept, kept+1)
	}
	c.keys[scoped{s.scope, k}] = s
	*list = append(*list, k)
}

// forgetKey takes a key away from the session that has it.
func (c *Cache) forgetKey(scope Scope, k Key) {
	at := scoped{scope, k}
	s := c.keys[at]
	if s == nil {
		return
	}
	delete(c.keys, at)
	isK := func(have Key) bool { return have == k }
	s.names = slices.DeleteFunc(s.names, isK)
	s.ends = slices.DeleteFunc(s.ends, isK)
	s.tails = slices.DeleteFunc(s.tails, isK)
	if s.weak == k {
		s.weak = Key{}
	}
}

func (s *session) latest() Key {
	if len(s.ends) == 0 {
		return Key{}
	}
	return s.ends[len(s.ends)-1]
}

// renew makes the session the most recently used one. All sessions have the
// same TTL, so the order of use is the order of expiry.
func (c *Cache) renew(s *session) {
	s.expires = time.Now().Add(c.ttl)
	c.sessions.Get(s.b.Session)
}

func (c *Cache) nextGen() uint64 {
	c.gen++
	return c.gen
}

func (c *Cache) link(s *session) {
	c.linkAuth(s)
	c.sessions.Add(s.b.Session, s)
}

func (c *Cache) linkAuth(s *session) {
	of := c.byAuth[s.b.Auth]
	if of == nil {
		of = map[*session]struct{}{}
		c.byAuth[s.b.Auth] = of
	}
	of[s] = struct{}{}
}

func (c *Cache) unlinkAuth(s *session) {
	of := c.byAuth[s.b.Auth]
	delete(of, s)
	if len(of) == 0 {
		delete(c.byAuth, s.b.Auth)
	}
}

// unlink takes a session that the LRU has let go out of both directions.
func (c *Cache) unlink(s *session) {
	c.unlinkAuth(s)
	for _, k := range s.names {
		delete(c.keys, scoped{s.scope, k})
	}
	for _, k := range s.ends {
		delete(c.keys, scoped{s.scope, k})
	}
	for _, k := range s.tails {
		delete(c.keys, scoped{s.scope, k})
	}
	if s.weak != (Key{}) {
		delete(c.keys, scoped{s.scope, s.weak})
	}
}

// freeExpired frees a few expired sessions: more than one a write, so that
// the store shrinks to what lives.
func (c *Cache) freeExpired() {
	for range maxTailWork {
		_, s, ok := c.sessions.GetOldest()
		if !ok || s.expires.After(time.Now()) {
			return
		}
		c.sessions.RemoveOldest()
	}
}
