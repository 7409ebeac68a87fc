package sessionid

import "net/http"

// Owner is state that one auth holds and others do not have: an earlier
// response, a container, a cached content. It changes with each turn, or
// belongs to several conversations, and is never a session's name.
type Owner struct {
	// Name is where the request names it, as in [Signals].
	Name string
	// Key is its digest, equal to OwnerKey(Name, id).
	Key Key
}

const (
	// maxOwners bounds what one request can name; more are not looked at.
	maxOwners = 3
	// maxOwnerBytes is the longest id of such state; servers make them, and
	// some hold the state itself.
	maxOwnerBytes = 4 << 10
)

// OwnerKey is the key under which a request will name state that a response
// has created: OwnerKey("previous_response_id", response.ID). name is one of
// kind [KindOwner] or [KindOwnerHeader] in [Signals]. It is the zero Key if id
// is none.
func OwnerKey(name, id string) Key {
	id, ok := clean(id, maxOwnerBytes)
	if !ok {
		return Key{}
	}
	return ownerSpace(name).key(id)
}

// ownerSpace is the space of an owner's name: a member that is an object with
// an id means the same as one that is the id.
func ownerSpace(name string) *space {
	switch name {
	case "conversation.id":
		name = "conversation"
	case "container.id":
		name = "container"
	case "cached_content":
		name = "cachedContent"
	}
	return newSpace("owner/" + name)
}

// replacesHistory: what stands before the request's own messages is that
// state, not a part of the request.
func (o *Owner) replacesHistory() bool {
	switch o.Name {
	case "previous_response_id", "previous_interaction_id", "thread.previous_message_id", "session_params.id":
		return true
	}
	return false
}

// own takes the state that the body names.
func (id *ID) own(e *Extractor, b *body) {
	if b.have&e.ownerMembers == 0 {
		return
	}
	for i := range e.ownerBody {
		s := &e.ownerBody[i]
		if !b.has(s.top) {
			continue
		}
		var buf scratch
		if v, ok := b.value(s, maxOwnerBytes, &buf); ok {
			id.addOwner(&s.signal, v)
		}
	}
}

// ownHeaders takes the state that the header names: only Codex's so far.
func (id *ID) ownHeaders(e *Extractor, header http.Header) {
	for i := range e.ownerHeaders {
		s := &e.ownerHeaders[i]
		if v, ok := s.first(header, maxOwnerBytes); ok {
			id.addOwner(s, v)
		}
	}
}

func (id *ID) addOwner(s *signal, v string) {
	k := s.space.key(v)
	for _, o := range id.owners {
		if o.Key == k {
			return
		}
	}
	if len(id.owners) < maxOwners {
		id.owners = append(id.owners, Owner{s.name, k})
	}
}
