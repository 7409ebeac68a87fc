package cache

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"
)

// The reasons for which Load can fail. Use errors.Is to tell them apart.
var (
	// ErrForeign: what was read is not a snapshot of a Memory.
	ErrForeign = errors.New("the data is not a snapshot")
	// ErrNewer: a later version of this package has written the snapshot.
	ErrNewer = errors.New("the snapshot is of a newer version")
	// ErrTruncated: the snapshot ends too early, or nothing was read at all.
	ErrTruncated = errors.New("the snapshot ends too early")
	// ErrDamaged: the snapshot is not what Save has written.
	ErrDamaged = errors.New("the snapshot is damaged")
)

// Save writes a snapshot of the store. [Load] makes a store of it that answers as this one
// does. Any number of goroutines may use the store meanwhile, and may call Save, too. None of
// them waits for w: Save copies a few sessions at a time, under the read lock of their part of
// the store, and writes them after it has released the lock. Cost: all sessions and notes, and
// a buffer of some 100 KB.
//
// Each session is in the snapshot as it was at one moment while Save ran, and these moments
// differ. So if an operation changes two sessions, such as one that takes a key from another,
// the snapshot may have only half of it. If two sessions then have the key, the later copy
// keeps it.
//
// Keep a snapshot secret (mode 0600). It holds no key that a client has sent, only digests. It
// does hold the names of tenants, pools, models and auths, the memos, and the secret that
// stable names are made of. A reader of the snapshot can predict the stable names of later
// sessions. A writer can change which auth a session is bound to: the checksum finds damage,
// not forgery.
//
// After an error of w, or ErrClosed, what was written is not a snapshot.
func (m *Memory) Save(w io.Writer) error {
	if m.sessions.closed.Load() {
		return ErrClosed
	}
	s := &saver{w: w}
	s.write([]byte(snapshotMagic + string(rune(snapshotVersion))))
	for _, t := range m.tables() {
		s.table(t)
	}
	s.block(blockEnd)
	if m.sessions.closed.Load() { // then what was copied may have been empty
		return ErrClosed
	}
	if s.err != nil {
		return fmt.Errorf("cache: saving the store: %w", s.err)
	}
	return nil
}

// Load makes a Memory of a snapshot that Save has written, with options of its own. It reads r
// up to the end of the snapshot and no further.
//
// Sessions and notes are what they were: their names, keys, auths, memos, and the order in
// which they were used. A Binding from before the snapshot still stands for the same session,
// and counts if its generation is still the current one. New generations are none that the
// other store has used, also after it was saved, unless the wall clock was set back meanwhile
// or two stores are loaded from one snapshot.
//
// The time since the snapshot counts, by the wall clock: if a session was idle for ten minutes
// in a snapshot of ten minutes ago, it is now idle for twenty. A session that has expired by
// that time and o.TTL is not loaded. If the wall clock is before the time of the snapshot, no
// time has passed. If it was wrong by more than the TTL, sessions may expire for that reason.
//
// The requests that had open uses of provisional bindings have ended with their process. Load
// ends these uses as if each was released and had not failed. So if a session was never
// served, and its first request after the restart fails, the session loses its auth, as it
// should.
//
// If the snapshot holds more than o allows, the sessions are evicted that SetOptions would
// evict. OnRemove is not called for what is not there after Load.
//
// If the snapshot cannot be loaded, the error is one of ErrForeign, ErrNewer, ErrTruncated and
// ErrDamaged, or that of r. The Memory is then empty: never half of the snapshot. It is nil
// only if an option cannot work. Cost: the sessions and notes in the snapshot, and memory for
// what was read, whatever length the snapshot claims to have.
func Load(r io.Reader, o *Options) (*Memory, error) {
	all, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := load(r, all)
	if err == nil {
		return m, nil
	}
	empty, failed := New(o)
	if failed != nil {
		return nil, failed
	}
	return empty, fmt.Errorf("cache: loading a store: %w", err)
}

func load(r io.Reader, o Options) (*Memory, error) {
	l := &loader{r: r, options: o, now: time.Now()}
	l.options.OnRemove = nil
	if err := l.begin(); err != nil {
		return nil, err
	}
	m := &Memory{}
	for i, t := range m.tables() {
		if l.table(t, i == 0); l.err != nil {
			return nil, l.err
		}
	}
	l.next(blockEnd)
	if l.in.bad || len(l.in.b) > 0 {
		l.fail(ErrDamaged)
	}
	m.sessions.onRemove = o.OnRemove
	return m, l.err
}

func (m *Memory) tables() [2]*table { return [...]*table{&m.sessions, &m.notes} }

// A snapshot is the magic, a byte for the version, and blocks. A block is its kind (1 byte),
// the length of its content (4 bytes), a checksum (4 bytes) and the content. Each checksum
// continues that of the block before. So it covers everything up to here, the order of the
// blocks included. Numbers are little-endian, or varints.
//
// For each table, sessions first, there is one block that begins it, blocks of records, blocks
// of tenants, and one block that ends it. The last block ends the snapshot.
const (
	snapshotMagic   = "llmaffinity cache snapshot\n"
	snapshotVersion = 2
	// maxBlock is how long a block may be. A block is ended when it has more than fullBlock;
	// only a large memo makes it much larger.
	maxBlock  = 1 << 30
	fullBlock = 64 << 10
	// countGap is the distance from the last birth or generation of the snapshot to the next
	// one, if the wall clock was set back. Otherwise the clock is past all those that another
	// store has made after the snapshot. At a million a second the gap lasts twelve days.
	countGap = 1 << 40
	// horizon is how far before the loading a table's time begins, more than a year. Earlier
	// service counts as if it was at that time.
	horizon = 1 << 55
)

const (
	blockTable byte = 1 + iota
	blockRecords
	blockTenants
	blockTableEnd
	blockEnd
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// arrange puts the records of a table that was just loaded into the order of their use. exact
// says that their stamps are in that order.
func (t *table) arrange(exact bool) {
	for i := range t.shards {
		s := &t.shards[i]
		var all []uint32
		s.all(func(h held) { all = append(all, h.i) })
		slices.SortStableFunc(all, func(a, b uint32) int {
			x, y := s.slab.at(a), s.slab.at(b)
			if exact {
				return int(int32(x.stamp.Load())) - int(int32(y.stamp.Load()))
			}
			return int(min(max(x.used.Load()-y.used.Load(), -1), 1))
		})
		s.moves.Store(0)
		for _, i := range all {
			r := s.slab.at(i)
			since := r.stamp.Load() & usedSince
			r.stamp.Store(s.moves.Load() - moveStep) // so that promote moves it
			if s.promote(i, r); exact {
				r.stamp.Or(since)
			}
		}
	}
}
