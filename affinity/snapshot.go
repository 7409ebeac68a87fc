package affinity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Save writes a snapshot of the Affinity, with which another process can continue: see
// [Affinity.Load], and [Affinity.SaveFile] for a file. Any number of goroutines may use the
// Affinity meanwhile; they do not wait for w. A report that comes after Save has written its
// session is not in the snapshot, so save after the last request, too.
//
// A snapshot contains the sessions with their bindings, detours and the auths that they avoid,
// what Owns and Answered have recorded, which auths are drained, slow, or were away lately,
// and in which scopes ids in messages are ignored. It does not contain the Options, the Stats,
// or the state of other packages, such as the cooldowns of an affinityhttp.Transport. Keep it
// secret: [cache.Memory.Save] says what it contains.
//
// With Options.Store the error is errors.ErrUnsupported, because the Store keeps the sessions.
// After Close it is cache.ErrClosed. After any error w has no usable snapshot.
func (a *Affinity[T]) Save(w io.Writer) error {
	switch {
	case a.memory == nil:
		return errOwnStore
	case a.closed.Load():
		return cache.ErrClosed
	}
	own := a.known(time.Now())
	head := make([]byte, 0, len(snapshotMagic)+9+len(own))
	head = append(head, snapshotMagic...)
	head = append(head, snapshotVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(own)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(own, castagnoli))
	if _, err := w.Write(append(head, own...)); err != nil {
		return fmt.Errorf("affinity: saving: %w", err)
	}
	return a.memory.Save(w)
}

// Load restores a snapshot that another Affinity has saved. Call it before the first Pick,
// while no other goroutine uses the Affinity: it is an error if there are sessions already. It
// reads r up to the snapshot's end and no further.
//
// Sessions continue as [cache.Load] says: idle times include the time since Save, by the wall
// clock, and Options.Memory bounds what is loaded.
//
// The snapshot refers to auths, tenants, pools and models by their names, so these must be
// lasting. If an auth is no longer among the candidates, its sessions move. A tenant with
// another name has lost its sessions: affinityhttp refuses to save if its TenantKey is random.
//
// If the snapshot cannot be loaded, the error is one of cache.ErrForeign,
// cache.ErrNewer, cache.ErrTruncated and cache.ErrDamaged, or that of r, and the Affinity
// stays as it was: empty, and ready for use. With Options.Store the error is
// errors.ErrUnsupported.
func (a *Affinity[T]) Load(r io.Reader) error { return a.load(r, false) }

// load is Load. With alone, r must end with the snapshot.
func (a *Affinity[T]) load(r io.Reader, alone bool) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	switch {
	case a.memory == nil:
		return errOwnStore
	case a.closed.Load():
		return cache.ErrClosed
	case a.memory.Len() > 0:
		return errors.New("affinity: Load must be called before the first Pick: there are sessions already")
	}
	known, err := readKnown(r, time.Now())
	if err != nil {
		return fmt.Errorf("affinity: loading: %w", err)
	}
	o := a.conf.Load().memory
	m, err := cache.Load(r, &o)
	if err == nil && alone {
		err = ended(r)
	}
	if err != nil {
		if m != nil {
			_ = m.Close() // it never fails
		}
		return fmt.Errorf("affinity: loading: %w", err)
	}
	_ = a.memory.Close()
	a.memory, a.store = m, m
	a.learn(known)
	return nil
}

// ended returns an error if there is more to read.
func ended(r io.Reader) error {
	switch _, err := io.ReadFull(r, make([]byte, 1)); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: there are more bytes after its end", cache.ErrDamaged)
	default:
		return err
	}
}

var errOwnStore = fmt.Errorf("affinity: Save and Load do not work with Options.Store: %w", errors.ErrUnsupported)

// A snapshot is the magic, a version (1 byte), the length of the part that known encodes (4
// bytes), its checksum (4 bytes), that part, and a snapshot of the memory. Times are in
// nanoseconds of the wall clock.
const (
	snapshotMagic   = "llmaffinity affinity snapshot\n"
	snapshotVersion = 1
	// maxKnown is more than all bounds together allow with names of usual length.
	maxKnown = 1 << 28
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// known is what an Affinity knows besides its sessions.
type known struct {
	answers  bool
	drained  []string
	gone     []string // those of absences that have not been seen since
	absences []knownAbsence
	speeds   []knownSpeed
	doubts   []knownDoubt
}

type knownAbsence struct {
	auth string
	absence
}

type knownSpeed struct {
	speedKey
	speed
}

type knownDoubt struct {
	scope cache.Scope
	doubt
}

// known encodes what is known now.
func (k *core) known(now time.Time) []byte {
	b := []byte{flag(k.answers.Load())}
	b = binary.AppendVarint(b, now.UnixNano())
	b = appendNames(b, k.drained.names())
	b = appendNames(b, k.absences.gone.names())
	k.absences.mu.Lock()
	if l := k.absences.lru; l != nil {
		b = binary.AppendUvarint(b, uint64(l.Len()))
		for _, auth := range l.Keys() {
			v, _ := l.Peek(auth)
			b = appendString(b, auth)
			b = binary.AppendUvarint(b, uint64(v.count))
			b = appendTime(appendTime(b, v.until), v.last)
		}
	} else {
		b = append(b, 0)
	}
	k.absences.mu.Unlock()
	k.speeds.mu.RLock()
	if l := k.speeds.lru; l != nil {
		b = binary.AppendUvarint(b, uint64(l.Len()))
		for _, of := range l.Keys() {
			v, _ := l.Peek(of)
			b = appendString(appendString(b, of.auth), of.model)
			b = binary.AppendUvarint(append(b, flag(v.slow)), uint64(v.run))
			b = appendTime(appendTime(b, v.probe), v.heard)
		}
	} else {
		b = append(b, 0)
	}
	k.speeds.mu.RUnlock()
	k.doubts.mu.Lock()
	defer k.doubts.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(len(k.doubts.of)))
	for scope, v := range k.doubts.of {
		b = appendString(appendString(appendString(b, scope.Tenant), scope.Pool), scope.Model)
		b = appendTime(binary.AppendUvarint(b, uint64(v.seen)), v.since)
	}
	return b
}

func appendNames(b []byte, names []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, n := range names {
		b = appendString(b, n)
	}
	return b
}

// appendTime writes the zero time as 0.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

// readKnown reads the part that known has encoded, and what precedes it.
func readKnown(r io.Reader, now time.Time) (k known, err error) {
	head := make([]byte, len(snapshotMagic)+9)
	n, err := io.ReadFull(r, head)
	magic := head[:min(n, len(snapshotMagic))]
	switch {
	case !strings.HasPrefix(snapshotMagic, string(magic)):
		return k, cache.ErrForeign
	case n > len(snapshotMagic) && head[len(snapshotMagic)] > snapshotVersion:
		return k, cache.ErrNewer
	case err != nil:
		return k, early(err)
	case head[len(snapshotMagic)] != snapshotVersion:
		return k, cache.ErrDamaged
	}
	numbers := head[len(snapshotMagic)+1:]
	size, sum := binary.LittleEndian.Uint32(numbers), binary.LittleEndian.Uint32(numbers[4:])
	if size > maxKnown {
		return k, cache.ErrDamaged
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(size)); err != nil { // it grows by what is read
		return k, early(err)
	}
	if crc32.Checksum(b.Bytes(), castagnoli) != sum {
		return k, cache.ErrDamaged
	}
	return decodeKnown(b.String(), now)
}

// early turns the end of the input into an error of the snapshot.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cache.ErrTruncated
	}
	return err
}

func decodeKnown(text string, now time.Time) (k known, err error) {
	m := memoReader{s: text}
	k.answers = m.byte()&1 != 0
	// If the wall clock was set back since, all times are set back with it.
	back := max(m.varint()-now.UnixNano(), 0)
	when := func() (t time.Time) {
		if n := m.varint(); n != 0 {
			t = now.Add(time.Duration(n - back - now.UnixNano())) // it has now's monotonic clock
		}
		return t
	}
	past := func() time.Time {
		if t := when(); t.Before(now) {
			return t
		}
		return now
	}
	name := func() string { return strings.Clone(m.string()) }
	each := func(read func()) {
		for n := m.uvarint(); n > 0 && !m.bad; n-- {
			read()
		}
	}
	each(func() { k.drained = append(k.drained, name()) })
	each(func() { k.gone = append(k.gone, name()) })
	each(func() {
		k.absences = append(k.absences, knownAbsence{name(), absence{count: m.count(), until: when(), last: when()}})
	})
	each(func() {
		of := speedKey{name(), name()}
		k.speeds = append(k.speeds, knownSpeed{of, speed{slow: m.byte()&1 != 0, run: m.count(), probe: when(), heard: past()}})
	})
	each(func() {
		of := cache.Scope{Tenant: name(), Pool: name(), Model: name()}
		k.doubts = append(k.doubts, knownDoubt{of, doubt{seen: m.count(), since: past()}})
	})
	if m.bad || m.s != "" {
		return known{}, cache.ErrDamaged
	}
	return k, nil
}

// count reads a number of things that happened.
func (m *memoReader) count() int { return int(min(m.uvarint(), 1<<20)) }

// learn restores what was known.
func (k *core) learn(from known) {
	k.answers.Store(from.answers)
	k.drained.become(from.drained)
	a := &k.absences
	a.mu.Lock()
	a.gone.become(from.gone[:min(len(from.gone), maxAbsences)])
	a.lru = nil
	if len(from.absences) > 0 {
		a.init()
		for _, it := range from.absences[max(0, len(from.absences)-maxAbsences):] {
			a.lru.Add(it.auth, it.absence)
		}
	}
	a.mu.Unlock()
	k.speeds.mu.Lock()
	k.speeds.lru = nil
	k.speeds.known.Store(0)
	for _, it := range from.speeds {
		k.speeds.put(it.speedKey, it.speed)
	}
	k.speeds.mu.Unlock()
	k.doubts.mu.Lock()
	defer k.doubts.mu.Unlock()
	k.doubts.of = map[cache.Scope]doubt{}
	for _, it := range from.doubts[:min(len(from.doubts), maxDoubts)] {
		k.doubts.of[it.scope] = it.doubt
	}
	k.doubts.n.Store(int64(len(k.doubts.of)))
}
