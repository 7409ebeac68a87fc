package cache

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"
)

// Why Load has loaded nothing. These are told apart with errors.Is.
var (
	// ErrForeign: what was read is no snapshot of a Memory.
	ErrForeign = errors.New("this is no snapshot")
	// ErrNewer: the snapshot is of a later version of this package.
	ErrNewer = errors.New("the snapshot is of a newer version")
	// ErrTruncated: the snapshot ends too early, or nothing was read at all.
	ErrTruncated = errors.New("the snapshot ends too early")
	// ErrDamaged: the snapshot is not what Save has written.
	ErrDamaged = errors.New("the snapshot is damaged")
)

// Save writes a snapshot of the store, from which [Load] makes a store that answers as
// this one does. Any number of goroutines may use the store meanwhile, and call Save,
// too. Nobody waits for w: sessions are copied a few dozen at a time, under the read
// lock of their part of the store, and written when that is free again. Cost: all
// sessions and notes, and a buffer of some 100 KB.
//
// Each session is in the snapshot as it was at one moment while Save ran. These moments
// differ. So of an operation on two sessions at once, such as a key that goes from one to
// the other, one half may be in the snapshot. If two sessions then have the key, the later
// copy keeps it.
//
// A snapshot is a secret of whoever runs the store: keep it from others (mode 0600). It
// has no key that a client has sent, only digests. It does have the names of tenants,
// pools, models and auths, the memos, and the secret that stable names are made of. Who
// reads it can tell how sessions will be called. Who can write it decides where sessions
// go: the checksum finds damage and not forgery.
//
// After an error of w, or ErrClosed, what was written is no snapshot.
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

// Load makes a Memory of a snapshot that Save has written, with options of its own. It
// reads r up to the snapshot's end and no further.
//
// Sessions and notes are what they were: their names, keys, auths, memos, and the order
// in which they were used. A Binding of before the snapshot means the same session, and
// counts if it is still current. New generations are none that the other store has used,
// also after it was saved, unless the wall clock was set back meanwhile or two stores go
// on from one snapshot.
//
// Time has gone on since the snapshot, by the wall clock: a session that was idle for
// ten minutes, ten minutes ago, is idle for twenty. What has expired by that and by
// o.TTL is not loaded. If the wall clock stands before the time of the snapshot, no time
// has passed. If it was wrong by more than the TTL, sessions may expire for it.
//
// The uses of provisional bindings were those of requests that have ended with their
// process. They are over, as if they had been released and had not failed. So the first
// request after the restart that fails takes the auth from a session that was never
// served, as it should.
//
// If there is more in the snapshot than o allows, the sessions go that would go if o
// was given to SetOptions. OnRemove is told nothing of what is not there after Load.
//
// If the snapshot cannot be loaded the error is one of ErrForeign, ErrNewer,
// ErrTruncated and ErrDamaged, or that of r, and the Memory is an empty one: never half
// of it. The Memory is nil only if an option cannot work. Cost: the sessions and notes
// in the snapshot, and memory for what was read, whatever the snapshot claims to hold.
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

// A snapshot is the magic, a byte for the version, and blocks. A block is its kind (1
// byte), the length of its content (4 bytes), a checksum (4 bytes) and the content. The
// checksum goes on from that of the block before. So it is about all that was read so
// far, the order of the blocks included. Numbers are little-endian, or varints.
//
// For each table, sessions first, there is one block that begins it, blocks of records,
// blocks of tenants, and one block that ends it. The last block ends the snapshot.
const (
	snapshotMagic   = "llmaffinity cache snapshot\n"
	snapshotVersion = 2
	// maxBlock is how long a block may be. Blocks are cut when they have more than
	// fullBlock: only a large memo makes one much larger.
	maxBlock  = 1 << 30
	fullBlock = 64 << 10
	// countGap is how far behind those of the snapshot new births and generations begin if
	// the wall clock was set back. Otherwise its time is behind all that another store has
	// made after the snapshot. At a million a second the gap is twelve days.
	countGap = 1 << 40
	// horizon is how far before it was loaded a table's time begins: what was served
	// earlier than that, more than a year ago, was served then.
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

// arrange puts the records of a table that was just loaded into the order of their use.
// exact says that their stamps are that order.
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
