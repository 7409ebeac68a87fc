package sessionid

import (
	"encoding/hex"
	"log/slog"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
)

// ID says which session a request belongs to. The zero ID means no session.
// An ID does not change, keeps nothing of the request alive, and may be copied
// and used by any number of goroutines.
type ID struct {
	slot    *slot         // the place that gave the primary key
	n       uint8         // how many names there are
	lead    uint8         // how many of them are of the strongest kind
	names   [maxNames]Key // the strongest first
	weak    Key
	lane    Key
	parent  Key
	side    bool
	owners  []Owner
	history content.History
}

// IsZero reports whether nothing in the request names a session. Owners may be
// there all the same.
func (id *ID) IsZero() bool { return id.slot == nil }

// Primary returns the strongest name of the session, the zero Key for the zero
// ID. An explicit signal gives the same primary key in every request of the
// session. Content gives the end of this request, which is new with every turn;
// [ID.Fallbacks] find such a session.
func (id *ID) Primary() Key {
	switch {
	case id.lead > 0:
		return id.names[0]
	case id.weak != Key{}:
		return id.weak
	}
	return id.End()
}

// Names returns the explicit ids that the request carries, the strongest first,
// at most 4. Bind them all. [ID.Leading] says which of them to look up.
// Names is empty if the session is known by [ID.Weak] or by content only. The
// slice is part of the ID: read it, do not write to it.
func (id *ID) Names() []Key { return id.names[:id.n:id.n] }

// Leading returns how many of Names, from the first on, are of the strongest kind
// that the request has. Look a session up by these names only, and bind the others
// beside them. Then the others still find the session if a proxy or the client stops
// sending the stronger names. And if a proxy adds the same id to all requests, that id
// joins no two sessions. Leading is 0 if there are no Names.
func (id *ID) Leading() int { return int(min(id.lead, id.n)) }

// Weak returns the key of prompt_cache_key, or the zero Key. Applications also
// use that member as a bucket for many conversations. So look it up only if there
// are no Names, and never let it join two sessions that have different Names.
func (id *ID) Weak() Key { return id.weak }

// End returns the boundary after the last message. Bind it. It is the zero Key
// if the ID does not come from content.
func (id *ID) End() Key { return id.history.End() }

// Opening returns the boundary before the first answer in the messages, or End if there
// is no answer. It is the same in each request of a conversation, as long as the client
// sends the whole history. Only conversations that begin with the same words share it. So
// processes that share nothing can choose the same auth by it. It finds no session: bind
// and look up the other keys. A model's words of less than 64 bytes are no answer, because
// clients put such words into openings. A conversation that begins with such an answer has
// another Opening from its second request on. Opening is the zero Key if the ID does not
// come from content, if the messages begin with an answer, or if state stands for earlier
// messages.
func (id *ID) Opening() Key { return id.history.Opening() }

// Tail returns the hash of the last few messages, whatever stood before them.
// Bind it, like End. It finds the session again when the history has lost its
// first messages to a compaction or a rolling window. It is the zero Key if the ID
// does not come from content, or if those messages say so little that other
// conversations may have the same.
func (id *ID) Tail() Key { return id.history.Tail() }

// Fallbacks returns the keys that earlier requests of the conversation, or the
// answers to them, may have bound. Look them up in this order; never bind them. The
// surest stand first: state that stands for earlier messages, the boundaries before End
// with the longest first, ids that the latest answer may have given, tails with the
// latest first, [ID.Marks] of the latest messages, and ids in earlier messages. A
// boundary after so few words that many conversations may begin with them stands last,
// or before the tails if it is among those of the latest 3 messages. There are at most
// some 230. The slice is nil if the ID does not come from content. All copies of the ID
// share it: read it, do not write to it.
func (id *ID) Fallbacks() []Key { return id.history.Earlier() }

// Boundaries returns those of the Fallbacks that are boundaries, the longest first:
// the latest ones and the first 8, at most MaxBoundaries-1. Do not write to the slice.
func (id *ID) Boundaries() []Key { return id.history.Boundaries() }

// Marks returns keys of messages that no other conversation should have: messages with
// an id that a machine has made, such as a tool call's, and words of some length. They
// are of the latest answer in the request and the messages after it, at most 4, those
// with an id first. [ID.MarksFrom] says when to bind them. If two sessions have the same
// mark, it must find neither. The slice is shared as that of Fallbacks.
func (id *ID) Marks() []Key { return id.history.Marks() }

// MarksFrom returns an index of Fallbacks. If a key at that index or after it finds the
// session, the i-th of the Marks is new to the session. i counts from 0 and is less than
// len(Marks). Bind the mark only if such a key has found the session, or if the request is
// Ongoing. Otherwise the mark may be part of an opening that many conversations share.
func (id *ID) MarksFrom(i int) uint16 { return id.history.MarksFrom(i) }

// IDMarks returns how many of the Marks, from the first on, are of messages with an id.
func (id *ID) IDMarks() int { return id.history.IDMarks() }

// Ongoing reports whether the messages end with the results of tool calls. Such a
// request is no opening, so its Marks may be bound to a new session.
func (id *ID) Ongoing() bool { return id.history.Ongoing() }

// WithoutIDMarks returns the ID without the Marks that are ids in its messages. Use it if
// many conversations have the same ids. It makes a copy of the keys.
func (id *ID) WithoutIDMarks() ID {
	out := *id
	out.history = id.history.WithoutIDs()
	return out
}

// Past says what the messages show of earlier turns of the conversation. If the ID finds
// no session then, the session is lost. Past is PastNone if the ID does not come from
// content.
func (id *ID) Past() Past { return Past(id.history.Past()) }

// Lane returns the key of the subagent that sent the request. All requests of
// one subagent have the same key, and no other session has it. It is the zero Key
// for the main agent, and for clients that do not name their subagents. With
// Options.LanesApart it is the session's only name.
func (id *ID) Lane() Key { return id.lane }

// Parent returns the key of what the subagent came from: the Lane of another subagent,
// or the Primary of a session. If Codex has forked the session from another one, it is
// the Primary of the other one. It is the zero Key if there is no parent, or if the
// client does not name it. It never names the session of this request.
func (id *ID) Parent() Key { return id.parent }

// Side reports whether the client says that the request is not a turn of the
// conversation. Codex says so of its compactions. Other clients do not say it.
func (id *ID) Side() bool { return id.side }

// Owners returns the state that the request names, at most 3. Only the auth that made
// such state has it. Options.OwnersEverywhere decides how much of the body is
// searched. All copies of the ID share the slice: read it, do not
// write to it.
func (id *ID) Owners() []Owner { return id.owners }

// Signal returns the place in the request that gave the primary key. The zero
// ID has the zero Signal.
func (id *ID) Signal() Signal {
	if id.slot == nil {
		return Signal{}
	}
	return id.slot.signal
}

// String returns the signal's name and a digest, or "none". It contains no part
// of an id that the client sent, so it is safe to log.
func (id ID) String() string {
	if id.IsZero() {
		return "none"
	}
	p := id.Primary()
	return id.slot.name + ":" + hex.EncodeToString(p[:8])
}

// LogValue makes an ID log as its String.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// add takes one explicit id. The first id's slot becomes the ID's.
func (id *ID) add(s *slot, k Key) {
	if id.slot == nil {
		id.slot = s
	}
	for i := range id.n {
		if id.names[i] == k {
			return
		}
	}
	if int(id.n) < len(id.names) {
		id.names[id.n] = k
		id.n++
	}
}

// addOwner takes the state that id v of a row names.
func (id *ID) addOwner(s *slot, v string) {
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
