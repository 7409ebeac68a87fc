package cache

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"time"
)

// loader reads a snapshot. After the first error it reads nothing more.
type loader struct {
	r       io.Reader
	options Options
	now     time.Time
	sum     uint32
	err     error
	block   bytes.Buffer
	in      snapshotReader // the content of the block

	t      *table
	at     moment // now, in the table's time
	shift  int64  // from the time of the table that was saved
	most   uint64 // of births and generations that were seen
	auths  []string
	scopes []Scope // names that the block has, by their place
}

func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// begin reads what comes before the first block.
func (l *loader) begin() error {
	b := make([]byte, len(snapshotMagic)+1)
	n, err := io.ReadFull(l.r, b)
	switch {
	case !strings.HasPrefix(snapshotMagic, string(b[:min(n, len(snapshotMagic))])):
		return ErrForeign
	case err != nil:
		return early(err)
	case b[n-1] > snapshotVersion:
		return fmt.Errorf("%w: version %d, want %d", ErrNewer, b[n-1], snapshotVersion)
	case b[n-1] != snapshotVersion:
		return ErrDamaged
	}
	l.sum = crc32.Update(0, castagnoli, b)
	return nil
}

// early makes the end of what is read an error of the snapshot.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

// next reads the next block, which must be of one of two kinds.
func (l *loader) next(kinds ...byte) (kind byte) {
	if l.err != nil {
		return 0
	}
	var head [9]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		l.fail(early(err))
		return 0
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if !bytes.Contains(kinds, head[:1]) || n > maxBlock {
		l.fail(ErrDamaged)
		return 0
	}
	l.block.Reset()
	if _, err := io.CopyN(&l.block, l.r, int64(n)); err != nil { // it grows by what there is
		l.fail(early(err))
		return 0
	}
	l.sum = crc32.Update(crc32.Update(l.sum, castagnoli, head[:5]), castagnoli, l.block.Bytes())
	if binary.LittleEndian.Uint32(head[5:]) != l.sum {
		l.fail(ErrDamaged)
		return 0
	}
	l.in = snapshotReader{b: l.block.Bytes()}
	l.auths, l.scopes = l.auths[:0], l.scopes[:0]
	return head[0]
}

// table reads a table. Notes are records without extras that are never without an auth.
func (l *loader) table(t *table, sessions bool) {
	l.next(blockTable)
	var seed [secretSize]byte
	copy(seed[:], l.in.bytes(secretSize))
	at, wall, shards := l.in.below(1<<61), l.in.below(1<<63), l.in.below(maxShards+1)
	if l.end(); l.err != nil {
		return
	}
	// The table's time is moved by whole ticks, so that what has ticks stays exact.
	const ticks = 1<<tickBits - 1
	passed := uint64(min(max(l.now.UnixNano()-int64(wall), 0), 1<<60))
	at += passed
	l.shift = (int64(at) - horizon) &^ ticks
	l.at.at = int64(at) - l.shift
	l.at.alive = l.at.at - int64(l.options.TTL)
	l.t, l.most = t, 0
	t.init(&l.options, origin{secretOf(seed), l.now.Add(-time.Duration(l.at.at))})
	// Nothing is evicted before the order of use is known.
	t.tenants.limit(&Options{MaxSessions: math.MaxInt})
	kind := l.next(blockRecords, blockTenants, blockTableEnd)
	for kind == blockRecords {
		for len(l.in.b) > 0 && l.err == nil {
			l.record(sessions)
		}
		kind = l.next(blockRecords, blockTenants, blockTableEnd)
	}
	t.arrange(int(shards) == len(t.shards))
	for kind == blockTenants {
		l.tenants(&t.tenants)
		kind = l.next(blockTenants, blockTableEnd)
	}
	count := max(l.in.below(maxCount), l.most)
	if passed == 0 {
		count += countGap
	}
	if l.end(); l.err != nil {
		return
	}
	t.count.Store(count)
	t.tenants.limit(&l.options)
	var gone leavings
	t.trim(nil, 0, 0, &gone)
	t.clean(&gone)
}

// end checks that the block has been read completely.
func (l *loader) end() {
	if l.in.bad || len(l.in.b) > 0 {
		l.fail(ErrDamaged)
	}
}

func (l *loader) record(sessions bool) {
	in := &l.in
	with := in.byte()
	home, born, gen := in.digest(), in.below(maxCount), in.below(maxCount)
	used, stamp := in.signed()-l.shift, in.signed()
	scope, auth := l.scope(), l.auth()
	st := state(in.below(1 << 32))
	memo := in.text(maxBlock)
	var e loadedExtras
	if with&withExtras != 0 {
		e = l.extras(with)
	}
	if !sessions && (with != 0 || memo != "" || st.cause() != 0) || with > withOwn<<1-1 || with != 0 && with&withExtras == 0 ||
		home == 0 || born == 0 || gen == 0 || auth == "" || !st.known() || int64(int32(stamp)) != stamp {
		in.bad = true
	}
	if in.bad {
		l.fail(ErrDamaged)
		return
	}
	l.most = max(l.most, born, gen)
	if used = min(used, l.at.at); used <= l.at.alive {
		return
	}
	s, gone := l.t.shard(home), leavings{}
	if h := s.home(home); h.ok() {
		// Its session was removed while the store was saved, and a new one was made.
		s.remove(h, Evicted, l.at, &gone)
		l.t.clean(&gone)
		gone = leavings{}
	}
	l.free(home)
	h, _ := s.insert(&scope, home, born, auth, l.at, &gone)
	l.t.clean(&gone)
	if st.served() {
		st = state(min(max(int64(st)-l.shift>>tickBits, 1), int64(provisional-1)))
	} else if st.cause() != 0 {
		s.unlinkAuth(h.i, h.r)
	}
	h.r.gen.Store(gen)
	h.r.stamp.Store(uint32(int32(stamp)))
	h.r.used.Store(used)
	h.r.state.Store(uint32(st))
	if memo != "" {
		s.setMemo(h.i, h.r, memo)
	}
	if with != 0 {
		l.give(h, &e)
	}
}

// known reports whether a state is one that a snapshot can have.
func (s state) known() bool {
	switch c := Cause(s & 0xff); {
	case s.served():
		return s > 0
	case s.cause() != 0:
		return s == lost|state(c) && (c == Unbound || c == Released || c == AuthInvalidated)
	}
	return s == provisional
}

// loadedExtras are extras as the snapshot has them.
type loadedExtras struct {
	keys          [kinds][]digest
	dead          digest
	answered      bool
	asked, served uint32
	twin          *twin
}

func (l *loader) extras(with byte) (e loadedExtras) {
	in := &l.in
	e.answered = with&withAnswer != 0
	e.served, e.asked = uint32(in.below(1<<32)), uint32(in.below(1<<32))
	for k := range kinds {
		for range in.below(uint64(most[k]) + 1) {
			d := in.digest()
			in.bad = in.bad || d == 0
			e.keys[k] = append(e.keys[k], d)
		}
	}
	e.dead = digest(in.below(deadMask + 1))
	if with&withTwin == 0 {
		in.bad = in.bad || with&withOwn != 0
		return e
	}
	t := &twin{own: with&withOwn != 0}
	t.awaited, t.key = uint32(in.below(1<<32)), in.digest()
	t.since = min(in.signed()-l.shift, l.at.at)
	t.taken, t.elder.home, t.elder.born = in.digest(), in.digest(), in.below(maxCount)
	e.twin = t
	return e
}

// give adds the loaded extras to a record. If two records have one key, the later one has
// taken it from the earlier one while the store was saved.
func (l *loader) give(h held, from *loadedExtras) {
	h.s.needExtras(h.r).set(from.answered, from.asked, from.served)
	if from.twin != nil {
		*h.needTwin() = *from.twin
	}
	for k := range kinds {
		for _, d := range from.keys[k] {
			dead := from.dead&1 != 0
			from.dead >>= 1
			s := l.t.shard(d)
			if s.home(d).ok() {
				continue
			}
			l.free(d)
			if e := h.s.give(h.r, k, d); dead {
				e.kill(d)
			}
			s.keys.put(d.bits(), l.t.join(h.s.number, h.i))
		}
	}
}

// free takes a key, which is no home, from the record that has it.
func (l *loader) free(d digest) {
	s := l.t.shard(d)
	for n := 0; ; n++ {
		to := s.keys.find(d.bits(), n)
		if to == 0 {
			return
		}
		h := l.t.to(to)
		h.r = h.s.slab.look(h.i)
		if e := h.extras(); e.forget(d) || e.forgetName(d) {
			s.keys.cut(d.bits(), to)
			return
		}
	}
}

func (l *loader) auth() string {
	at := l.in.below(uint64(len(l.auths)) + 1)
	if int(at) == len(l.auths) {
		l.auths = append(l.auths, l.in.text(maxBlock))
	}
	return l.auths[at]
}

func (l *loader) scope() Scope {
	at := l.in.below(uint64(len(l.scopes)) + 1)
	if int(at) == len(l.scopes) {
		l.scopes = append(l.scopes, Scope{Tenant: l.in.text(maxName), Pool: l.in.text(maxName), Model: l.in.text(maxName)})
	}
	return l.scopes[at]
}

// tenants reads when each tenant has grown last.
func (l *loader) tenants(to *ledger) {
	clock := l.in.below(maxCount)
	to.clock = max(to.clock, clock)
	for len(l.in.b) > 0 && !l.in.bad {
		name, grown := l.in.text(maxName), l.in.below(maxCount)
		if a := to.accounts[name]; a != nil {
			a.grown = grown
			heap.Fix(&to.most, a.index)
		}
	}
	l.end()
}

// snapshotReader takes values from the front of a block. After the first value that is missing
// or out of its bounds, it is bad and returns zeros.
type snapshotReader struct {
	b   []byte
	bad bool
}

func (r *snapshotReader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *snapshotReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *snapshotReader) digest() digest {
	if b := r.bytes(8); b != nil {
		return digest(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// below reads a number that is less than bound.
func (r *snapshotReader) below(bound uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n >= bound {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

// signed reads a time, or another number that may be negative, of at most 62 bits.
func (r *snapshotReader) signed() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 || n >= 1<<61 || n < -1<<61 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *snapshotReader) text(most uint64) string { return string(r.bytes(r.below(most + 1))) }
