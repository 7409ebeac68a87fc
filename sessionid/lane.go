package sessionid

import "net/http"

// lane finds the subagent that sent the request, and the subagent or session that it
// came from.
func (e *Extractor) lane(id *ID, header http.Header) {
	s := id.slot
	if s.side != nil {
		_, id.side = s.side.first(header, e.maxID)
	}
	if s.lane == nil && s.parent == nil {
		return
	}
	session := id.Primary()
	if s.lane == nil { // the client's subagents are sessions of their own
		if v, ok := s.parent.first(header, e.maxID); ok {
			if k := s.space.key(v); k != session {
				id.parent = k
			}
		}
		return
	}
	v, ok := s.lane.first(header, e.maxID)
	if !ok || s.space.key(v) == session {
		if s.fork != nil { // the main line
			if v, ok := s.fork.first(header, e.maxID); ok && s.space.key(v) != session {
				id.parent = s.space.key(v)
			}
		}
		return
	}
	id.lane = laneKey(session, v)
	id.parent = session
	if s.parent != nil {
		if v, ok := s.parent.first(header, e.maxID); ok && s.space.key(v) != session {
			id.parent = laneKey(session, v)
		}
	}
	if e.lanesApart {
		id.names = [maxNames]Key{id.lane}
		id.n, id.lead = 1, 1
		id.weak = Key{}
	}
}
