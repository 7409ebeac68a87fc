package sessionid

import (
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// Config of an Extractor. The zero value is what [Extract] does.
type Config struct {
	// Own are the operator's own signals, the strongest first. They are of
	// [KindOwn], which the default order asks before all others. Own headers
	// cost a look-up each; an own path behind which no id stands costs a walk
	// over the body in every request.
	Own []Source

	// Order are the kinds that are asked, the strongest first; a kind that is
	// not there is switched off. nil is [DefaultOrder]. The body is read only
	// for kinds that stand before the one that the header answers.
	Order []Kind

	// Without are signals that are switched off, by their name in [Signals]:
	// in all kinds in which it stands.
	Without []string

	// Deny are header names that [KindPattern] must not take for a session,
	// beside those that it never takes. It has no effect where Order does not
	// name that kind.
	Deny []string

	// Lanes says where subagents belong.
	Lanes LanePolicy

	// Owners says how far the body is searched for state that one auth holds.
	Owners OwnerPolicy

	// MaxIDBytes is the longest id that is taken, up to 1024; 0 is
	// [MaxIDBytes].
	MaxIDBytes int

	// MaxContentBytes is the largest body whose content is its identity; 0 is
	// no limit. A larger one without an id names no session.
	MaxContentBytes int
}

// Source is a place of an operator's own: one of the two fields.
type Source struct {
	// Header is a header's name, in any case.
	Header string
	// Path is the path of a body member, with dots between the names of
	// objects: "tracing.session". Lists, wildcards and escapes are not known.
	Path string
}

// LanePolicy says where a subagent's requests belong.
type LanePolicy uint8

const (
	// LanesInherit: a subagent is part of its session and has its names.
	// [ID.Lane] tells which one it is.
	LanesInherit LanePolicy = iota
	// LanesApart: a subagent is a session of its own. Its only name is its
	// lane, so that it is bound alone; [ID.Parent] tells whence it came.
	LanesApart
)

// OwnerPolicy says where [ID.Owners] are looked for.
type OwnerPolicy uint8

const (
	// OwnersWhereRead: in the header, and in as much of the body as is read
	// to find the session. Costs nothing. A body of up to 8 KiB without a
	// header that answers is read whole.
	OwnersWhereRead OwnerPolicy = iota
	// OwnersAlways: in the header and the whole body, in every request. Costs
	// a walk over the body, without hashing it.
	OwnersAlways
)

// ErrConfig is wrapped by the errors of NewExtractor.
var ErrConfig = errors.New("sessionid: bad configuration")

// DefaultOrder is the order of kinds that Extract follows. It is the caller's
// copy. KindPattern and KindUser are not in it: an operator who wants them
// puts them where they belong.
func DefaultOrder() []Kind {
	return []Kind{
		KindOwn, KindNativeHeader, KindNativeBody, KindGenericHeader, KindBody, KindCacheKey, KindGuarded, KindContent,
	}
}

// Extractor finds the session of a request by its configuration. It is made
// by NewExtractor, never changes after that, and may be used by any number of
// goroutines.
type Extractor struct {
	stages    []stage
	firstBody int // the first stage that reads the body
	headers   nameTable
	members   nameTable
	strong    uint64 // members that may hold an id that ends the search, a bit for each

	guard        *source // X-Client-Request-Id, if it is read
	ownerHeaders []signal
	ownerBody    []source
	ownerMembers uint64

	deny       []string
	lanes      LanePolicy
	owners     OwnerPolicy
	maxID      int
	maxContent int
}

// stage is one kind at its place in the order: header rows or body rows.
type stage struct {
	kind   Kind
	inBody bool
	names  uint64 // of the rows' headers or members, a bit for each
	rows   []source
}

func (st *stage) add(s source) {
	st.rows = append(st.rows, s)
	st.names |= 1 << s.top
}

// source is a row of the census, made ready for one Extractor.
type source struct {
	signal
	top          int      // place of its header or member in the Extractor's tables
	sub          []string // body: the path below that
	lane, parent *signal  // the headers of subagents in this space
}

var contentSource = source{signal: contentSignal}

// NewExtractor makes an Extractor. Its errors wrap [ErrConfig] and say which
// field is wrong.
func NewExtractor(c Config) (*Extractor, error) {
	bad := func(format string, args ...any) (*Extractor, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	e := &Extractor{lanes: c.Lanes, owners: c.Owners, maxID: c.MaxIDBytes, maxContent: c.MaxContentBytes}
	for _, name := range contentNames {
		if _, err := e.members.add(name, maxMembers); err != nil {
			return nil, err
		}
	}
	if e.maxID == 0 {
		e.maxID = MaxIDBytes
	}
	switch {
	case e.maxID < 0 || e.maxID > maxMaxID:
		return bad("MaxIDBytes is %d, not 0 to %d", c.MaxIDBytes, maxMaxID)
	case e.maxContent < 0:
		return bad("MaxContentBytes is %d", c.MaxContentBytes)
	case c.Lanes > LanesApart:
		return bad("Lanes is %d, which is no policy", c.Lanes)
	case c.Owners > OwnersAlways:
		return bad("Owners is %d, which is no policy", c.Owners)
	}
	for _, name := range c.Without {
		if !slices.ContainsFunc(Signals(), func(s Signal) bool { return strings.EqualFold(s.Name, name) }) {
			return bad("Without names %q, which is no signal", name)
		}
	}
	off := func(s *signal) bool {
		return slices.ContainsFunc(c.Without, func(name string) bool { return strings.EqualFold(s.name, name) })
	}
	for _, name := range c.Deny {
		if !isHeaderName(name) {
			return bad("Deny has %q, which is no header name", name)
		}
		e.deny = append(e.deny, textproto.CanonicalMIMEHeaderKey(name))
	}
	order := c.Order
	if order == nil {
		order = DefaultOrder()
	}
	if len(order) == 0 {
		return bad("Order is empty: nothing would ever be found")
	}
	for i, kind := range order {
		if slices.Contains(order[:i], kind) {
			return bad("Order has %v twice", kind)
		}
		switch kind {
		case KindOwn:
			if err := e.addOwn(c.Own); err != nil {
				return nil, err
			}
		case KindContent:
			if !off(&contentSignal) {
				e.stages = append(e.stages, stage{kind: kind, inBody: true})
			}
		case KindPattern:
			e.stages = append(e.stages, stage{kind: kind, rows: []source{{signal: patternSignal}}})
		case KindNativeHeader, KindGenericHeader, KindNativeBody, KindBody, KindCacheKey, KindGuarded, KindUser:
			if err := e.addCensus(kind, off); err != nil {
				return nil, err
			}
		default:
			return bad("Order has %v, which names no session", kind)
		}
	}
	if len(c.Own) > 0 && !slices.Contains(order, KindOwn) {
		return bad("Own has signals that Order does not ask for")
	}
	e.addLanes(off)
	if err := e.addOwners(off); err != nil {
		return nil, err
	}
	e.firstBody = slices.IndexFunc(e.stages, func(s stage) bool { return s.inBody })
	if e.firstBody < 0 {
		e.firstBody = len(e.stages)
	}
	return e, nil
}

// addOwn adds the operator's signals, in their order.
func (e *Extractor) addOwn(own []Source) error {
	for i, o := range own {
		s := source{signal: signal{kind: KindOwn, space: spaceOwn, client: "the operator's own"}}
		switch {
		case (o.Header == "") == (o.Path == ""):
			return fmt.Errorf("%w: Own[%d] needs one of Header and Path", ErrConfig, i)
		case o.Header != "" && !isHeaderName(o.Header):
			return fmt.Errorf("%w: Own[%d].Header is %q, which is no header name", ErrConfig, i, o.Header)
		case o.Header != "":
			s.name = textproto.CanonicalMIMEHeaderKey(o.Header)
			top, err := e.headers.add(s.name, maxHeaders)
			if err != nil {
				return fmt.Errorf("%w: Own[%d].Header: %w", ErrConfig, i, err)
			}
			s.top = top
		default:
			s.name = o.Path
			if err := e.place(&s); err != nil {
				return fmt.Errorf("%w: Own[%d].Path: %w", ErrConfig, i, err)
			}
		}
		inBody := o.Path != ""
		if n := len(e.stages); n == 0 || e.stages[n-1].kind != KindOwn || e.stages[n-1].inBody != inBody {
			e.stages = append(e.stages, stage{kind: KindOwn, inBody: inBody})
		}
		e.stages[len(e.stages)-1].add(s)
	}
	return nil
}

// addCensus adds the rows of one kind.
func (e *Extractor) addCensus(kind Kind, off func(*signal) bool) error {
	st := stage{kind: kind, inBody: kind != KindNativeHeader && kind != KindGenericHeader}
	for _, row := range census {
		if row.kind != kind || off(&row) {
			continue
		}
		s := source{signal: row}
		switch {
		case !st.inBody:
			s.name = textproto.CanonicalMIMEHeaderKey(s.name)
			top, err := e.headers.add(s.name, maxHeaders)
			if err != nil {
				return err
			}
			s.top = top
		case kind == KindGuarded && row.read == asItIs: // the header beside prompt_cache_key
			e.guard = &s
			continue
		default:
			if err := e.place(&s); err != nil {
				return err
			}
		}
		st.add(s)
	}
	if len(st.rows) > 0 {
		e.stages = append(e.stages, st)
	}
	return nil
}

// addLanes gives every row the headers of its subagents.
func (e *Extractor) addLanes(off func(*signal) bool) {
	for i := range census {
		row := &census[i]
		if row.kind != KindLane && row.kind != KindParent || off(row) {
			continue
		}
		for j := range e.stages {
			for k := range e.stages[j].rows {
				s := &e.stages[j].rows[k]
				switch {
				case row.kind == KindLane && row.space == s.space:
					s.lane = row
				case row.kind == KindParent && row.space == s.space, row.kind == KindParent && row.space == nil && s.parent == nil:
					s.parent = row
				}
			}
		}
	}
}

// addOwners adds the places of state that one auth holds.
func (e *Extractor) addOwners(off func(*signal) bool) error {
	for _, row := range census {
		if row.kind != KindOwner && row.kind != KindOwnerHeader || off(&row) {
			continue
		}
		row.space = ownerSpace(row.name)
		if row.kind == KindOwnerHeader {
			e.ownerHeaders = append(e.ownerHeaders, row)
			continue
		}
		s := source{signal: row}
		if err := e.place(&s); err != nil {
			return err
		}
		e.ownerBody = append(e.ownerBody, s)
		e.ownerMembers |= 1 << s.top
	}
	return nil
}

// isStrong reports whether a member may hold an id that ends the search.
func (e *Extractor) isStrong(i int) bool { return e.strong>>i&1 != 0 }

// place finds the place of a body row's member.
func (e *Extractor) place(s *source) (err error) {
	path := strings.Split(s.name, ".")
	if slices.Contains(path, "") || strings.ContainsAny(s.name, `"\`) {
		return fmt.Errorf("%q is no path", s.name)
	}
	if s.top, err = e.members.add(path[0], maxMembers); err != nil {
		return err
	}
	s.sub = path[1:]
	switch s.kind {
	case KindOwn, KindNativeBody, KindBody:
		e.strong |= 1 << s.top
	}
	return nil
}

// isHeaderName: the token characters of RFC 9110.
func isHeaderName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != ""
}
