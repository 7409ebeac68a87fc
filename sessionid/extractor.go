package sessionid

import (
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// Extractor finds the session of a request as its Options say. It never changes
// and may be used by any number of goroutines. NewExtractor makes one.
type Extractor struct {
	stages    []stage
	firstBody int // index of the first stage that reads the body
	headers   nameTable
	members   nameTable

	inside [maxMembers][]string // of each member: names that are read inside it

	named uint64 // members that may hold an id, a bit for each

	sessions uint64 // headers that name sessions, a bit for each
	beside   uint64 // headers of subagents and of owners

	cacheKeyHeaders []*slot // KindGuarded headers beside the cache key
	ownerHeaders    []*slot
	ownerBody       []slot
	ownerMembers    uint64 // of ownerBody, a bit for each member

	deny             []string
	lanesApart       bool
	ownersEverywhere bool
	maxID            int
	maxContent       int
}

// stage is one kind at its place in the order. Its slots are all in the header
// or all in the body.
type stage struct {
	kind   Kind
	inBody bool
	names  uint64 // headers or members of the slots, a bit for each
	slots  []slot
	keys   []string // the names of slots, close together
}

func (st *stage) add(s slot) {
	s.signal = s.asSignal()
	st.slots = append(st.slots, s)
	st.keys = append(st.keys, s.name)
	st.names |= 1 << s.top
}

// NewExtractor returns an Extractor; nil means the zero Options. An error begins
// with "sessionid: " and names the field that is wrong. NewExtractor copies what
// it needs of o.
func NewExtractor(o *Options) (*Extractor, error) { return newExtractor(census, o) }

// newExtractor makes an Extractor from the rows.
func newExtractor(rows []row, o *Options) (*Extractor, error) {
	if o == nil {
		o = &Options{}
	}
	e := &Extractor{
		lanesApart: o.LanesApart, ownersEverywhere: o.OwnersEverywhere,
		maxID: o.MaxIDBytes, maxContent: o.MaxContentBytes,
	}
	if e.maxID == 0 {
		e.maxID = MaxIDBytes
	}
	for _, step := range []func() error{
		func() error { return e.check(rows, o) },
		e.addContent,
		func() error { return e.addStages(rows, o) },
		func() error { return e.addOwners(rows, o) },
		func() error { return e.addLanes(rows, o) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("sessionid: %w", err)
		}
	}
	e.firstBody = slices.IndexFunc(e.stages, func(s stage) bool { return s.inBody })
	if e.firstBody < 0 {
		e.firstBody = len(e.stages)
	}
	return e, nil
}

// check checks the fields that hold no places, and takes Deny.
func (e *Extractor) check(rows []row, o *Options) error {
	switch {
	case e.maxID < 0 || e.maxID > longestMaxID:
		return fmt.Errorf("MaxIDBytes is %d, want 0 to %d", o.MaxIDBytes, longestMaxID)
	case e.maxContent < 0:
		return fmt.Errorf("MaxContentBytes is %d, want at least 0", o.MaxContentBytes)
	}
	known := signalsOf(rows)
	for _, name := range o.Without {
		if !slices.ContainsFunc(known, func(s Signal) bool { return strings.EqualFold(s.Name, name) }) {
			return fmt.Errorf("Without has %q, which is not the name of a signal", name)
		}
	}
	for _, name := range o.Deny {
		if !isHeaderName(name) {
			return fmt.Errorf("Deny has %q, which is not the name of a header", name)
		}
		e.deny = append(e.deny, textproto.CanonicalMIMEHeaderKey(name))
	}
	return nil
}

// addContent gives the members that hold conversations the first places.
func (e *Extractor) addContent() error {
	for _, name := range contentMembers {
		if _, err := e.members.add(name, maxMembers); err != nil {
			return err
		}
	}
	return nil
}

// addStages adds a stage for each kind of the order.
func (e *Extractor) addStages(rows []row, o *Options) error {
	order := o.Order
	if order == nil {
		order = DefaultOrder()
	}
	if len(order) == 0 {
		return errors.New("Order is empty, so that no session would be recognised")
	}
	if len(o.Own) > 0 && !slices.Contains(order, KindOwn) {
		return errors.New("Own is set, but Order does not have KindOwn")
	}
	for i, kind := range order {
		if slices.Contains(order[:i], kind) {
			return fmt.Errorf("Order has %v twice", kind)
		}
		var err error
		switch kind {
		case KindOwn:
			err = e.addOwn(o.Own)
		case KindContent:
			if !o.off(&contentRow) {
				e.stages = append(e.stages, stage{kind: kind, inBody: true})
			}
		case KindPattern:
			e.stages = append(e.stages, stage{kind: kind, slots: []slot{{row: patternRow, signal: patternRow.asSignal()}}})
		case KindNativeHeader, KindGenericHeader, KindNativeBody, KindBody, KindCacheKey, KindGuarded, KindUser:
			err = e.addCensus(kind, rows, o)
		default:
			err = fmt.Errorf("Order has %v, which names no session", kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// off reports whether a row is switched off.
func (o *Options) off(r *row) bool {
	return slices.ContainsFunc(o.Without, func(name string) bool { return strings.EqualFold(r.name, name) })
}

// addOwn adds the operator's own places, in their order. Successive places that are all
// in the header or all in the body share a stage.
func (e *Extractor) addOwn(own []Place) error {
	for i, p := range own {
		if (p.Header == "") == (p.Path == "") {
			return fmt.Errorf("Own[%d] needs either a Header or a Path", i)
		}
		s := slot{row: row{kind: KindOwn, space: spaceOwn, client: "the operator's own"}}
		inBody, field, err := p.Path != "", "Header", error(nil)
		if inBody {
			field, s.name = "Path", p.Path
			err = e.placeMember(&s)
		} else {
			s.name = p.Header
			err = e.placeHeader(&s)
		}
		if err != nil {
			return fmt.Errorf("Own[%d].%s: %w", i, field, err)
		}
		if n := len(e.stages); n == 0 || e.stages[n-1].kind != KindOwn || e.stages[n-1].inBody != inBody {
			e.stages = append(e.stages, stage{kind: KindOwn, inBody: inBody})
		}
		e.stages[len(e.stages)-1].add(s)
	}
	return nil
}

// addCensus adds a stage with the rows of one kind.
func (e *Extractor) addCensus(kind Kind, rows []row, o *Options) error {
	st := stage{kind: kind, inBody: !kind.inHeader()}
	for _, r := range rows {
		if r.kind != kind || o.off(&r) {
			continue
		}
		s := slot{row: r}
		if r.terms != nil && r.terms.isCacheKey {
			e.cacheKeyHeaders = append(e.cacheKeyHeaders, &s)
			continue
		}
		place := e.placeMember
		if !st.inBody {
			place = e.placeHeader
		}
		if err := place(&s); err != nil {
			return fmt.Errorf("the census, %s: %w", r.name, err)
		}
		st.add(s)
	}
	if len(st.slots) > 0 {
		e.stages = append(e.stages, st)
	}
	return nil
}

// addOwners adds the places of state that only one auth has.
func (e *Extractor) addOwners(rows []row, o *Options) error {
	for _, r := range rows {
		if r.kind != KindOwner && r.kind != KindOwnerHeader || o.off(&r) {
			continue
		}
		s := slot{row: r}
		s.space = ownerSpace(rows, r.name)
		if r.kind == KindOwnerHeader {
			if err := e.placeHeader(&s); err != nil {
				return fmt.Errorf("the census, %s: %w", r.name, err)
			}
			e.beside |= 1 << s.top
			e.ownerHeaders = append(e.ownerHeaders, &s)
			e.standsBeside(r.space, func(session *slot) { session.ownerHeaders = append(session.ownerHeaders, &s) })
			continue
		}
		if err := e.placeMember(&s); err != nil {
			return fmt.Errorf("the census, %s: %w", r.name, err)
		}
		e.ownerBody = append(e.ownerBody, s)
		e.ownerMembers |= 1 << s.top
	}
	return nil
}

// addLanes gives every slot the headers of its subagents.
func (e *Extractor) addLanes(rows []row, o *Options) error {
	for i := range rows {
		r := &rows[i]
		if r.kind != KindLane && r.kind != KindParent && r.kind != KindSide || o.off(r) {
			continue
		}
		s := slot{row: *r}
		if err := e.placeHeader(&s); err != nil {
			return fmt.Errorf("the census, %s: %w", r.name, err)
		}
		e.beside |= 1 << s.top
		e.standsBeside(r.space, func(session *slot) {
			switch {
			case r.kind == KindSide:
				session.side = r
			case r.kind == KindParent && r.terms != nil && r.terms.fork:
				session.fork = r
			case r.kind == KindLane && r.space != nil:
				session.lane = r
			case r.kind == KindParent && (r.space != nil || session.parent == nil):
				session.parent = r
			}
		})
	}
	return nil
}

// standsBeside calls do for each slot whose ids are of a family; nil stands for
// every family.
func (e *Extractor) standsBeside(family *space, do func(session *slot)) {
	for i := range e.stages {
		for j := range e.stages[i].slots {
			if s := &e.stages[i].slots[j]; family == nil || family == s.space {
				do(s)
			}
		}
	}
}

// placeHeader finds the index of a slot's header.
func (e *Extractor) placeHeader(s *slot) (err error) {
	if !isHeaderName(s.name) {
		return fmt.Errorf("%q is not the name of a header", s.name)
	}
	s.name = textproto.CanonicalMIMEHeaderKey(s.name)
	if s.top, err = e.headers.add(s.name, maxHeaders); err == nil && s.kind.inHeader() {
		e.sessions |= 1 << s.top
	}
	return err
}

// placeMember finds the index of a slot's top-level member.
func (e *Extractor) placeMember(s *slot) (err error) {
	path := strings.Split(s.name, ".")
	if slices.Contains(path, "") || strings.ContainsAny(s.name, `"\`) {
		return fmt.Errorf("%q is not a path", s.name)
	}
	if s.top, err = e.members.add(path[0], maxMembers); err != nil {
		return err
	}
	s.sub, s.inside = path[1:], -1
	if inside := &e.inside[s.top]; len(s.sub) > 0 {
		s.inside = slices.Index(*inside, s.sub[0])
		if s.inside < 0 && len(*inside) < maxInside {
			s.inside = len(*inside)
			*inside = append(*inside, s.sub[0])
		}
	}
	if s.kind != KindOwner {
		e.named |= 1 << s.top
	}
	return nil
}

// isHeaderName reports whether name has only the token characters of RFC 9110.
func isHeaderName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != ""
}
