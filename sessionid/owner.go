package sessionid

// Owner is state that one auth has and the others do not have: an earlier response, a
// container, a cached content. (An auth is what a gateway chooses among: a credential,
// an account, a replica.) The state changes with each turn, or several conversations
// use it. So it never names a session.
type Owner struct {
	// Name is the place where the request names the state, as in [Signals].
	Name string
	// Key is the state's digest, equal to OwnerKey(Name, id).
	Key Key
}

// OwnerKey returns the key by which a later request will name state that a
// response has created: OwnerKey("previous_response_id", response.ID). name is
// the name of a signal of [KindOwner] or [KindOwnerHeader]. OwnerKey returns the
// zero Key if id is no id.
func OwnerKey(name, id string) Key {
	id, ok := clean(id, maxOwnerBytes)
	if !ok {
		return Key{}
	}
	return ownerSpace(census, name).key(id)
}

func newOwner(name, id string) Owner { return Owner{name, OwnerKey(name, id)} }

// ownerSpace returns the family of an owner's ids. Rows that mean the same state
// share one.
func ownerSpace(rows []row, name string) *space {
	for i := range rows {
		if r := &rows[i]; r.kind == KindOwner && r.terms != nil && r.terms.means != "" && r.name == name {
			name = r.terms.means
			break
		}
	}
	return newSpace("owner/" + name)
}
