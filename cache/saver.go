package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"
)

// saver writes a snapshot.
type saver struct {
	w   io.Writer
	sum uint32
	err error

	b      []byte // the content of the next block
	auths  map[string]uint64
	scopes map[Scope]uint64 // names that the block has, by their place
}

// someRecords is how many records are copied under one lock.
const someRecords = 8

func (s *saver) write(b []byte) {
	if s.err == nil {
		s.sum = crc32.Update(s.sum, castagnoli, b)
		_, s.err = s.w.Write(b)
	}
}

// block writes what has been collected as a block.
func (s *saver) block(kind byte) {
	if len(s.b) > maxBlock && s.err == nil {
		s.err = errors.New("the memo of a session is too large")
	}
	if s.err == nil {
		var head [9]byte
		head[0] = kind
		binary.LittleEndian.PutUint32(head[1:], uint32(len(s.b)))
		s.sum = crc32.Update(crc32.Update(s.sum, castagnoli, head[:5]), castagnoli, s.b)
		binary.LittleEndian.PutUint32(head[5:], s.sum)
		if _, s.err = s.w.Write(head[:]); s.err == nil {
			_, s.err = s.w.Write(s.b)
		}
	}
	s.b = s.b[:0]
	clear(s.auths)
	clear(s.scopes)
}

func (s *saver) table(t *table) {
	s.auths, s.scopes = map[string]uint64{}, map[Scope]uint64{}
	now := t.now()
	s.b = append(s.b, t.secret.seed[:]...)
	s.number(uint64(now.at))
	s.number(uint64(max(0, time.Now().UnixNano())))
	s.number(uint64(len(t.shards)))
	s.block(blockTable)
	for i := range t.shards {
		s.shard(t, &t.shards[i])
	}
	if len(s.b) > 0 {
		s.block(blockRecords)
	}
	s.tenants(&t.tenants)
	s.number(t.count.Load())
	s.block(blockTableEnd)
}

// shard copies the records of a shard, in the order of their numbers. Records that are added
// meanwhile may be missing.
func (s *saver) shard(t *table, from *shard) {
	from.mu.RLock()
	moves, last := from.moves.Load(), from.slab.used
	from.mu.RUnlock()
	for first := uint32(1); first <= last && s.err == nil; first += someRecords {
		from.mu.RLock()
		now := t.now()
		for i := first; i <= min(first+someRecords-1, last, from.slab.used); i++ {
			if r := from.slab.at(i); r.home.Load() != 0 && r.live(now) {
				s.record(held{from, i, r}, moves)
			}
		}
		from.mu.RUnlock()
		if len(s.b) > fullBlock {
			s.block(blockRecords)
		}
	}
}

// What a record has besides its fixed fields.
const (
	withExtras byte = 1 << iota
	withTwin
	withAnswer // the latest end was answered
	withOwn    // twin.own
)

// record adds a record to the block. Its shard is locked.
func (s *saver) record(h held, moves uint32) {
	var with byte
	e, t := h.extras(), h.twin()
	if e != nil {
		with |= withExtras
		if e.answered() {
			with |= withAnswer
		}
		if t != nil {
			with |= withTwin
			if t.own {
				with |= withOwn
			}
		}
	}
	r, state := h.r, h.r.load()
	if state.provisional() {
		state = provisional // without the open uses
	}
	s.b = append(s.b, with)
	s.digest(digest(r.home.Load()))
	s.number(r.born.Load())
	s.number(r.gen.Load())
	s.signed(r.used.Load())
	s.signed(int64(int32(r.stamp.Load() - moves)))
	s.scope(h.s.scopeOf(r))
	s.auth(h.s.core.auths.name(r.auth.Load()))
	s.number(uint64(state))
	s.text(h.s.memo(h.i, r))
	if e == nil {
		return
	}
	s.number(uint64(e.served()))
	s.number(uint64(e.asked()))
	for k := range kinds {
		s.number(uint64(e.count(k)))
		for _, d := range e.keys(k) {
			s.digest(d)
		}
	}
	s.number(uint64(e.dead()))
	if t != nil {
		s.number(uint64(t.awaited))
		s.digest(t.key)
		s.signed(t.since)
		s.digest(t.taken)
		s.digest(t.elder.home)
		s.number(t.elder.born)
	}
}

func (s *saver) digest(d digest) { s.b = binary.LittleEndian.AppendUint64(s.b, uint64(d)) }
func (s *saver) number(n uint64) { s.b = binary.AppendUvarint(s.b, n) }
func (s *saver) signed(n int64)  { s.b = binary.AppendVarint(s.b, n) }

func (s *saver) text(x string) {
	s.number(uint64(len(x)))
	s.b = append(s.b, x...)
}

// auth adds a name: as text where it is new in the block, and always as its number there.
func (s *saver) auth(name string) {
	at, ok := s.auths[name]
	if !ok {
		at = uint64(len(s.auths))
		s.auths[name] = at
	}
	s.number(at)
	if !ok {
		s.text(name)
	}
}

func (s *saver) scope(scope Scope) {
	at, ok := s.scopes[scope]
	if !ok {
		at = uint64(len(s.scopes))
		s.scopes[scope] = at
	}
	s.number(at)
	if !ok {
		s.text(scope.Tenant)
		s.text(scope.Pool)
		s.text(scope.Model)
	}
}

// tenants writes when each tenant has grown last. That decides which of two tenants with
// equally many sessions loses one.
func (s *saver) tenants(l *ledger) {
	const some = 256
	for from, more := 0, true; more && s.err == nil; from += some {
		l.mu.Lock()
		s.number(l.clock)
		for i := from; i < min(from+some, len(l.most)); i++ {
			s.text(l.most[i].name)
			s.number(l.most[i].grown)
		}
		more = from+some < len(l.most)
		l.mu.Unlock()
		s.block(blockTenants)
	}
}
