package sessionid

import "net/http"

// laneOf finds the subagent that sent the request, and its parent. A lane's
// key is made of its session's and its own id, so that a counter that a client
// takes for its agents stays inside its session.
func (id *ID) laneOf(e *Extractor, header http.Header) {
	s := id.source
	if s.lane == nil && s.parent == nil {
		return
	}
	session := id.Primary()
	if s.lane == nil { // a parent that is a session itself
		if v, ok := s.parent.first(header, e.maxID); ok {
			if k := s.space.key(v); k != session {
				id.parent = k
			}
		}
		return
	}
	v, ok := s.lane.first(header, e.maxID)
	if !ok || s.space.key(v) == session {
		return // the main line
	}
	id.lane = inLane(session, v)
	id.parent = session
	if s.parent != nil {
		if v, ok := s.parent.first(header, e.maxID); ok && s.space.key(v) != session {
			id.parent = inLane(session, v)
		}
	}
	if e.lanes == LanesApart {
		id.names = [maxNames]Key{id.lane}
		id.n = 1
		id.weak = Key{}
	}
}

func inLane(session Key, lane string) Key {
	lo, hi := halves(session)
	l, h := halves(spaceLane.key(lane))
	return makeKey(fold(lo, l), fold(hi, h))
}

// first is the first value of the signal's header that is an id.
func (s *signal) first(header http.Header, limit int) (string, bool) {
	for _, v := range header[s.name] {
		if v, ok := s.id(v, limit); ok {
			return v, true
		}
	}
	return "", false
}
