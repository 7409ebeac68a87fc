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

// Save writes a snapshot of all that the Affinity knows, for a process that goes on
// where this one ends: see [Affinity.Load], and [Affinity.SaveFile] for a file. Any
// number of goroutines may use the Affinity meanwhile; they do not wait for w. What of a
// request is reported after Save has come to its session is not in the snapshot: save
// after the last request, too.
//
// A snapshot has the sessions with their bindings, detours and the auths that they avoid,
// what Owns and Answered have recorded, which auths are drained, slow, or were away lately,
// and in which scopes ids are not believed. It does not have the Options, the Stats, or
// what a host knows besides, such as which auths rest in an affinityhttp.Transport. It is
// a secret of whoever runs the gateway: see [cache.Memory.Save], which says what is in it.
//
// With Options.Store the error is errors.ErrUnsupported: then sessions outlive the
// process anyway. After Close it is cache.ErrClosed. After any error what was written is
// no snapshot.
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

// Load takes what another Affinity has saved in place of what this one knows. Call it
// before the first Pick, while nobody else uses the Affinity: it is an error if there are
// sessions already. It reads r up to the snapshot's end and no further.
//
// Sessions go on as [cache.Load] says: idle times have gone on by the wall clock, and
// Options.Memory bounds what is loaded.
//
// The snapshot means auths, tenants, pools and models by their names. So these must be
// lasting. An auth that is not among the candidates any more is gone: its sessions move. A
// tenant that is called otherwise has none of its sessions: a TenantKey of affinityhttp
// that is random for each process makes a snapshot worthless.
//
// If the snapshot cannot be loaded, the error is one of cache.ErrForeign,
// cache.ErrNewer, cache.ErrTruncated and cache.ErrDamaged, or that of r, and the Affinity
// stays as it was: empty, and ready for use. With Options.Store the error is
// errors.ErrUnsupported.
func (a *Affinity[T]) Load(r io.Reader) error { return a.load(r, false) }

// load is Load. With alone there must be nothing behind the snapshot.
func (a *Affinity[T]) load(r io.Reader, alone bool) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	switch {
	case a.memory == nil:
		return errOwnStore
	case a.closed.Load():
		return cache.ErrClosed
	case a.memory.Len() > 0:
		return errors.New("affinity: Load after the first Pick: there are sessions")
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

// ended is an error if there is more to read.
func ended(r io.Reader) error {
	switch _, err := io.ReadFull(r, make([]byte, 1)); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: there is more behind it", cache.ErrDamaged)
	default:
		return err
	}
}

var errOwnStore = fmt.Errorf("affinity: a snapshot is of the memory that an Affinity makes, and there is Options.Store: %w", errors.ErrUnsupported)

// A snapshot is the magic, a byte for the version, the length of what the Affinity knows
// besides its sessions (4 bytes), a checksum of that (4 bytes), what it knows, and a
// snapshot of the memory. Times are in nanoseconds of the wall clock.
const (
	snapshotMagic   = "llmaffinity affinity snapshot\n"
	snapshotVersion = 1
	// maxKnown is more than all bounds together allow, if names are not absurd.
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

// known writes down what is known now.
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

// readKnown reads what known has written, and what comes before it.
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
	if _, err := io.CopyN(&b, r, int64(size)); err != nil { // it grows by what there is
		return k, early(err)
	}
	if crc32.Checksum(b.Bytes(), castagnoli) != sum {
		return k, cache.ErrDamaged
	}
	return decodeKnown(b.String(), now)
}

// early makes the end of what is read an error of the snapshot.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cache.ErrTruncated
	}
	return err
}

func decodeKnown(text string, now time.Time) (k known, err error) {
	m := memoReader{s: text}
	k.answers = m.byte()&1 != 0
	// If the wall clock was set back since, what was a minute ago is a minute ago still.
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

// count is a number of things that happened.
func (m *memoReader) count() int { return int(min(m.uvarint(), 1<<20)) }

// learn takes over what was known.
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
