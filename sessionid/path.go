package sessionid

import (
	"slices"
	"strings"
)

// pathSlot is the place of a conversation that stands only in a request's path.
var (
	pathRow  = row{kind: KindBody, space: spaceSession, name: "path", client: "OpenAI Responses (C)"}
	pathSlot = slot{row: pathRow, signal: pathRow.asSignal()}
)

// WithPath returns the ID together with state that the request's path names and that only
// one auth has. Extract does not read the path. Such state is a conversation of the
// Responses API (/v1/conversations/conv_…/items), a response (/v1/responses/resp_…), a
// container of OpenAI's, an interaction of Google's (/v1beta/interactions/…), or a cached
// content of Gemini's. If nothing else names the session, the conversation does, as it does
// in a body. A query after the path does not count.
func (id ID) WithPath(path string) ID {
	path, _, _ = strings.Cut(path, "?")
	at := func(folder, prefix string) (string, bool) {
		_, rest, ok := strings.Cut(path, folder)
		if !ok {
			return "", false
		}
		name, _, _ := strings.Cut(rest, "/")
		if !strings.HasPrefix(name, prefix) {
			return "", false
		}
		return clean(name, MaxIDBytes)
	}
	if v, ok := at("/conversations/", "conv_"); ok {
		if id.IsZero() {
			id.add(&pathSlot, pathSlot.space.key(v))
			id.lead = id.n
		}
		id.owns(newOwner("conversation", v))
	}
	if v, ok := at("/responses/", "resp_"); ok {
		id.owns(newOwner("previous_response_id", v))
	}
	if v, ok := at("/interactions/", ""); ok {
		id.owns(newOwner("previous_interaction_id", v))
	}
	if v, ok := at("/containers/", "cntr_"); ok {
		id.owns(newOwner("container", v))
	}
	if v, ok := at("/cachedContents/", ""); ok {
		folder, _, _ := strings.Cut(path, "/cachedContents/")
		// Vertex AI's names begin with the project.
		if _, project, ok := strings.Cut(folder, "/projects/"); ok {
			v = "projects/" + project + "/cachedContents/" + v
		} else {
			v = "cachedContents/" + v
		}
		if v, ok := clean(v, MaxIDBytes); ok {
			id.owns(newOwner("cachedContent", v))
		}
	}
	return id
}

// WithOwner returns the ID with state that the request names in a place that Extract does
// not read. If the owner's key is zero, or if the ID has that owner or 8 others already,
// WithOwner changes nothing.
func (id ID) WithOwner(o Owner) ID {
	if o.Key != (Key{}) && len(id.owners) < mostOwners {
		id.owns(o)
	}
	return id
}

// mostOwners is how many owners an ID has at most if a host adds some.
const mostOwners = 8

// owns adds an owner that the body has not named. A path names at most one of each kind,
// so maxOwners need not bound them. The slice is cut, because copies of the ID share it.
func (id *ID) owns(o Owner) {
	if !slices.ContainsFunc(id.owners, func(had Owner) bool { return had.Key == o.Key }) {
		id.owners = append(slices.Clip(id.owners), o)
	}
}
