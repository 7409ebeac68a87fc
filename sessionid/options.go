package sessionid

// Options of an Extractor. The zero value makes an Extractor that does what
// [Extract] does.
type Options struct {
	// Own are the operator's own places, the strongest first. They are of
	// [KindOwn], which is the first kind of the default order. Each header costs a
	// look-up in every request. A path costs a walk over the body in every
	// request, unless it is the first place and its member stands after the body's
	// last list. The strongest place that has an id gives the only own name. The
	// default is none.
	Own []Place

	// Order are the kinds that Extract looks for, the strongest first. A kind that
	// is missing is switched off. If the header has an id of some kind, the body is
	// read only for kinds before that one. nil is [DefaultOrder].
	Order []Kind

	// Without are the names of signals that are switched off, as in [Signals],
	// in upper or lower case. If signals of several kinds have the name, all of
	// them are switched off. The default is none.
	Without []string

	// Deny are names of further headers, in upper or lower case, that [KindPattern]
	// does not take for a session. The default is none.
	Deny []string

	// LanesApart makes each subagent that has an [ID.Lane] a session of its own. The
	// Lane is its only name, so it is bound alone, and not to the auth of its session;
	// [ID.Parent] says what it came from. By default such a subagent is part of its
	// session and has the names of that session. A subagent that the client gives a
	// session id of its own, as OpenCode does, has no Lane, and LanesApart does not
	// change it.
	LanesApart bool

	// OwnersEverywhere looks for [ID.Owners] in the header and in the whole body
	// of every request. That costs a walk over the body, without hashing it. By
	// default owners are taken from the header and, at no cost, from the part of
	// the body that is read to find the session. The size of the body does not
	// change that part: no member if a client's own header names the session; the
	// members after the last list if a generic header, or a KindNativeBody id after
	// that list, names it; otherwise all members.
	OwnersEverywhere bool

	// MaxIDBytes is the longest id that is taken, at most 1024. The default, 0,
	// is [MaxIDBytes].
	MaxIDBytes int

	// MaxContentBytes is the largest body whose content is its identity. A
	// larger one without an id names no session. The default, 0, is no limit.
	MaxContentBytes int
}

// Place is a place in a request that an operator has chosen. Exactly one of its
// fields is set.
type Place struct {
	// Header is the name of a header, in upper or lower case.
	Header string
	// Path is the path of a body member: names of at most 63 bytes with dots
	// between them, as in "tracing.session". Only objects are walked into; there
	// are no list indices, wildcards or escapes.
	Path string
}

// DefaultOrder returns the order of kinds that Extract follows. KindPattern and
// KindUser are not in it. To use them, add them at the place in the order that you
// want. The slice is the caller's.
func DefaultOrder() []Kind {
	return []Kind{
		KindOwn, KindNativeHeader, KindNativeBody, KindGenericHeader, KindBody, KindCacheKey, KindGuarded, KindContent,
	}
}
