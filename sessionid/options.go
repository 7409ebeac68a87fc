package sessionid

// Options of an Extractor. The zero value makes an Extractor that does what
// [Extract] does.
type Options struct {
	// Own are the operator's own places, the strongest first. They are of
	// [KindOwn], which the default order asks before all others. Each header
	// costs a look-up in every request. A path costs a walk over the body in every
	// request, unless it is the first place and stands behind the body's last
	// list. The strongest place that has an id gives the only own name. The
	// default is none.
	Own []Place

	// Order are the kinds that are asked, the strongest first. A kind that is
	// missing is switched off. The body is read only for kinds that stand before
	// the one that the header answers. nil is [DefaultOrder].
	Order []Kind

	// Without are the names of signals that are switched off, as in [Signals]
	// and in any case. A name that stands in several kinds is switched off in
	// all of them. The default is none.
	Without []string

	// Deny are names of headers, in any case, that [KindPattern] does not take
	// for a session, besides those that it never takes. The default is none.
	Deny []string

	// LanesApart makes each subagent a session of its own. Its only name is its
	// [ID.Lane], so it is bound alone; [ID.Parent] says what it came from. By
	// default a subagent is part of its session and has its session's names.
	LanesApart bool

	// OwnersEverywhere looks for [ID.Owners] in the header and in the whole body
	// of every request. That costs a walk over the body, without hashing it. By
	// default owners are taken from the header and, at no cost, from the part of
	// the body that is needed to find the session, at every size of the body:
	// none of it if a client's own header names the session; the members behind
	// the last list if a generic header or a KindNativeBody id behind that list
	// names it; otherwise all members.
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
	// Header is the name of a header, in any case.
	Header string
	// Path is the path of a body member: names of at most 63 bytes with dots
	// between them, as in "tracing.session". Only objects are walked into; there
	// are no list indices, wildcards or escapes.
	Path string
}

// DefaultOrder returns the order of kinds that Extract follows. KindPattern and
// KindUser are not in it: an operator who wants them adds them where they
// belong. The slice is the caller's.
func DefaultOrder() []Kind {
	return []Kind{
		KindOwn, KindNativeHeader, KindNativeBody, KindGenericHeader, KindBody, KindCacheKey, KindGuarded, KindContent,
	}
}
