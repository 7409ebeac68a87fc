package rediscache

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/redis/rueidis"
)

//go:embed store.lua
var source string

var script = rueidis.NewLuaScript(source)

// Store is a cache.Store and a cache.Admin that keeps its data on a server. Any number of
// goroutines may use it. Each operation of cache.Store is one script on the server: it is
// atomic, and one round trip.
type Store struct {
	options Options
	ttl     string // in milliseconds, as scripts take it
	lag     string
	epochs  [buckets]string
	near    *near // nil if there is none
	dialer

	roundTrips atomic.Uint64
}

var _ interface {
	cache.Store
	cache.Admin
} = (*Store)(nil)

// Open is New with a URL: redis://user:password@host:port/db, rediss:// for TLS, unix:// for a
// socket, and likewise valkey:// and valkeys://. More addresses of a Cluster, or of sentinels,
// follow as ?addr=host:port&addr=host:port, and the name of the sentinels' master as
// master_set=name. See [rueidis.ParseURL] for the rest.
func Open(url string, o *Options) (*Store, error) {
	c, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("rediscache: %w", err)
	}
	return New(c, o)
}

// New makes a Store for the server that client describes. It begins to connect and does not
// wait. If the server is away, the Store tries again when it is used. An error names the
// option that cannot work. The Store sets client.OnInvalidations, so it takes options and
// makes the client itself. Close closes that client.
func New(client rueidis.ClientOption, o *Options) (*Store, error) {
	all, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		options: all, epochs: epochKeys(all.Prefix),
		ttl: millis(all.TTL), lag: millis(all.Lag),
	}
	if all.Lag > 0 && !client.DisableCache && !client.AlwaysRESP2 {
		s.near = newNear(&all)
	}
	if s.dialer.option, err = clientOption(client, s.near); err != nil {
		return nil, err
	}
	_, err = s.connect()
	return s, err
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// in returns the key that routes a script to a bucket.
func (s *Store) in(bucket byte) []string { return s.epochs[bucket : int(bucket)+1] }

// call runs an operation in the bucket of keys.
func (s *Store) call(ctx context.Context, keys []string, op string, args ...string) ([]rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	return s.ask(ctx, keys, op, args...)
}

// ask is call without a bound on time besides ctx.
func (s *Store) ask(ctx context.Context, keys []string, op string, args ...string) ([]rueidis.RedisMessage, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	if s.calls.Add(1) > maxCalls {
		s.calls.Add(-1)
		return nil, errBusy
	}
	defer s.calls.Add(-1)
	s.roundTrips.Add(1)
	all := append([]string{op, s.ttl, s.lag}, args...)
	r, err := script.Exec(ctx, c, keys, all).ToArray()
	return r, s.explain(err)
}

// explain adds to an error where it comes from.
func (s *Store) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load(): // rueidis returns ErrClosing for a server that is away, too
		return cache.ErrClosed
	}
	return fmt.Errorf("rediscache: %w", err)
}

// request returns a request's place, and its keys as scripts take them.
func (s *Store) request(scope *cache.Scope, k *cache.Keys) (place, []string) {
	p := placeOf(scope.Short())
	names := 0
	for names < len(k.Names) && k.Names[names] != (cache.Key{}) {
		names++
	}
	fallbacks := k.Fallbacks
	if names > 0 {
		fallbacks = nil
	}
	from := make([]byte, 0, 32)
	for _, n := range k.MarksFrom {
		from = append(strconv.AppendUint(from, uint64(n), 10), ' ')
	}
	end := ""
	if k.End != (cache.Key{}) {
		end = string(k.End[:])
	}
	args := make([]string, 0, 16) // room for the longest operation
	return p, append(args, string(p.scope[:]), joined(k.Names[:names]), end, joined(fallbacks), joined(k.Also[:]), joined(k.Marks[:]), string(from), flag(k.Ongoing))
}

// joined returns keys as one string. Zero keys in between keep their place.
func joined(all []cache.Key) string {
	last := len(all)
	for last > 0 && all[last-1] == (cache.Key{}) {
		last--
	}
	if last == 0 {
		return ""
	}
	b := make([]byte, 0, last*len(cache.Key{}))
	for _, k := range all[:last] {
		b = append(b, k[:]...)
	}
	return rueidis.BinaryString(b)
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// Get implements [cache.Store]. If this process has seen the session within Options.Lag by the
// same explicit ids, the near-cache answers.
func (s *Store) Get(ctx context.Context, scope cache.Scope, keys cache.Keys) (b cache.Binding, ok bool, err error) {
	if keys.IsZero() || s.closed.Load() {
		return b, false, s.alive()
	}
	if s.near.get(&b, &scope, &keys, true) {
		return b, true, nil
	}
	return s.getOrBind(ctx, &scope, &keys, "")
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, scope cache.Scope, keys cache.Keys, auth string) (b cache.Binding, existed bool, err error) {
	if auth == "" || keys.IsZero() || s.closed.Load() {
		return b, false, s.alive()
	}
	return s.getOrBind(ctx, &scope, &keys, auth)
}

func (s *Store) getOrBind(ctx context.Context, scope *cache.Scope, keys *cache.Keys, auth string) (b cache.Binding, found bool, err error) {
	p, args := s.request(scope, keys)
	before := s.near.moment()
	id := anyKey()
	at := s.in(p.bucket)
	if keys.Names[0] != (cache.Key{}) {
		at = []string{at[0], aliasKey(at[0], p.scope, keys.Names[0])}
	}
	reply, err := s.call(ctx, at, "get", append(args, auth, string(p.tenant[:]), string(id[:]), anyGen(), strconv.Itoa(s.options.MaxPerTenant))...)
	if err != nil {
		return b, false, err
	}
	b, found, err = s.binding(reply, p.bucket)
	var mine []alias
	if s.near != nil && err == nil && found && len(reply) > 13 {
		mine = ownedBy(reply[13], p.scope, keys)
	}
	s.near.answered(before, scope, p.scope, keys, &b, mine)
	return b, found, err
}

// ownedBy returns the request's keys, the first id before the others, if all of them belong to
// the session. The script's number says so: its lowest bits stand for the names, the bits
// above those for Also. If one key belongs to another session, ownedBy returns none: the
// server would not say when that session is gone, and the key then belongs to this one.
func ownedBy(reply rueidis.RedisMessage, scope cache.Key, k *cache.Keys) []alias {
	owned, err := reply.AsInt64()
	if err != nil {
		return nil
	}
	all := make([]alias, 0, cache.MaxNames+cache.MaxAlso)
	add := func(keys []cache.Key, first int) (whole bool) {
		for i, key := range keys {
			switch {
			case key == cache.Key{}:
			case owned>>(first+i)&1 == 0:
				return false
			default:
				all = append(all, aliasOf(scope, key))
			}
		}
		return true
	}
	if !add(k.Names[:], 0) || !add(k.Also[:], cache.MaxNames) {
		return nil
	}
	return all
}

// Peek implements [cache.Store].
func (s *Store) Peek(ctx context.Context, scope cache.Scope, keys cache.Keys) (b cache.Binding, ok bool, err error) {
	if keys.IsZero() || s.closed.Load() {
		return b, false, s.alive()
	}
	if s.near.get(&b, &scope, &keys, false) {
		return b, true, nil
	}
	p, args := s.request(&scope, &keys)
	reply, err := s.call(ctx, s.in(p.bucket), "peek", args...)
	if err != nil {
		return b, false, err
	}
	b, _, err = s.binding(reply, p.bucket)
	s.near.answered(0, &scope, p.scope, &keys, &b, nil)
	return b, b.Gen != 0, err
}

// Move implements [cache.Store].
func (s *Store) Move(ctx context.Context, b cache.Binding, auth string) (now cache.Binding, moved bool, err error) {
	if auth == "" {
		return now, false, s.alive()
	}
	return s.change(ctx, &b, "move", auth, anyGen())
}

// Amend implements [cache.Store].
func (s *Store) Amend(ctx context.Context, b cache.Binding, memo string) (now cache.Binding, amended bool, err error) {
	return s.change(ctx, &b, "amend", b.Memo, memo)
}

// change runs an operation that returns the binding as it is afterwards.
func (s *Store) change(ctx context.Context, b *cache.Binding, op string, args ...string) (now cache.Binding, changed bool, err error) {
	reply, err := s.on(ctx, b, op, args...)
	if err != nil || reply == nil {
		return now, false, err
	}
	return s.binding(reply, b.Ref[0])
}

// on runs an operation on the session of a binding, and drops the session from the near-cache.
// The reply is nil for the zero Binding.
func (s *Store) on(ctx context.Context, b *cache.Binding, op string, args ...string) ([]rueidis.RedisMessage, error) {
	if b.Gen == 0 || s.closed.Load() {
		return nil, s.alive()
	}
	all := make([]string, 0, 8)
	all = append(append(all, string(b.Session[:]), genText(b.Gen)), args...)
	s.near.begin(b.Session)
	defer s.near.end(b.Session) // also after an error: the operation may have been done
	return s.call(ctx, s.in(b.Ref[0]), op, all...)
}

// yes reports whether the first number of a reply is not 0.
func yes(reply []rueidis.RedisMessage, err error) (bool, error) {
	if err != nil || len(reply) == 0 {
		return false, err
	}
	n, err := reply[0].AsInt64()
	return n != 0, err
}

// Confirm implements [cache.Store].
func (s *Store) Confirm(ctx context.Context, b cache.Binding) (memo string, current bool, err error) {
	return s.touch(ctx, &b, true)
}

// Touch implements [cache.Store].
func (s *Store) Touch(ctx context.Context, b cache.Binding) (current bool, err error) {
	_, current, err = s.touch(ctx, &b, false)
	return current, err
}

func (s *Store) touch(ctx context.Context, b *cache.Binding, served bool) (memo string, current bool, err error) {
	if b.Gen == 0 || s.closed.Load() {
		return "", false, s.alive()
	}
	if memo, ok := s.near.touch(b, served); ok {
		return memo, true, nil
	}
	reply, err := s.call(ctx, s.in(b.Ref[0]), "touch", string(b.Session[:]), genText(b.Gen), flag(served))
	if err != nil || len(reply) == 0 {
		s.near.isNot(b.Session)
		return "", false, err
	}
	s.near.touched(b, served)
	memo, err = reply[0].ToString()
	return memo, err == nil, err
}

// Unbind implements [cache.Store].
func (s *Store) Unbind(ctx context.Context, b cache.Binding) (unbound bool, err error) {
	return yes(s.on(ctx, &b, "unbind", anyGen()))
}

// Release implements [cache.Store].
func (s *Store) Release(ctx context.Context, b cache.Binding, failed bool) (unbound bool, err error) {
	return yes(s.on(ctx, &b, "release", anyGen(), flag(failed)))
}

// BindAnswer implements [cache.Store].
func (s *Store) BindAnswer(ctx context.Context, b cache.Binding, a cache.Answer) (done cache.Answered, err error) {
	if b.Gen == 0 || s.closed.Load() {
		return done, s.alive()
	}
	ending := ""
	if a.End != (cache.Key{}) {
		ending = string(a.End[:])
	}
	keys, marks := a.Keys[:min(len(a.Keys), cache.MaxAnswer)], a.Marks[:min(len(a.Marks), cache.MaxMarks)]
	reply, err := s.call(ctx, s.in(b.Ref[0]), "answer", string(b.Session[:]), flag(b.Opening), ending, joined(keys), joined(marks))
	if err != nil || len(reply) != 3 {
		s.near.taken("", keys) // the operation may have been done
		return done, err
	}
	accepted, err := yes(reply, nil)
	if err != nil {
		return done, s.explain(err)
	}
	if accepted {
		place, _ := reply[2].ToString()
		s.near.taken(place, keys)
	}
	n, err := reply[1].AsInt64()
	if err != nil {
		return done, s.explain(err)
	}
	return cache.Answered{Accepted: accepted, Shared: uint8(n)}, nil
}

// Remember implements [cache.Store].
func (s *Store) Remember(ctx context.Context, scope cache.Scope, key cache.Key, auth string) error {
	if key == (cache.Key{}) || auth == "" || s.closed.Load() {
		return s.alive()
	}
	p := placeOf(scope.Short())
	seed := anyKey()
	_, err := s.call(ctx, s.in(p.bucket), "remember", string(p.scope[:])+string(key[:]), auth, string(p.tenant[:]), string(seed[:]), strconv.Itoa(s.options.MaxPerTenant))
	return err
}

// Recall implements [cache.Store].
func (s *Store) Recall(ctx context.Context, scope cache.Scope, key cache.Key) (auth string, ok bool, err error) {
	if key == (cache.Key{}) || s.closed.Load() {
		return "", false, s.alive()
	}
	p := placeOf(scope.Short())
	reply, err := s.call(ctx, s.in(p.bucket), "recall", string(p.scope[:])+string(key[:]))
	if err != nil || len(reply) == 0 {
		return "", false, err
	}
	auth, err = reply[0].ToString()
	return auth, err == nil, s.explain(err)
}

// Epoch returns an id that the server makes when the data of the scope's tenant is new. If it
// has changed, the server has lost its data: it was restarted empty, or a failover has lost
// the writes.
func (s *Store) Epoch(ctx context.Context, scope cache.Scope) (string, error) {
	if s.closed.Load() {
		return "", cache.ErrClosed
	}
	seed := anyKey()
	reply, err := s.call(ctx, s.in(placeOf(scope.Short()).bucket), "epoch", string(seed[:]))
	if err != nil || len(reply) == 0 {
		return "", err
	}
	return reply[0].ToString()
}

// errReply means that the reply is not one of this script, or that the server is not Redis.
var errReply = errors.New("rediscache: the server's reply is not one of the script")

// binding reads a reply; flag is its last part, if it has one.
func (s *Store) binding(reply []rueidis.RedisMessage, bucket byte) (b cache.Binding, flag bool, err error) {
	if len(reply) == 0 {
		return b, false, nil
	}
	if len(reply) < 12 {
		return b, false, errReply
	}
	text := func(i int) (v string) {
		if err == nil {
			v, err = reply[i].ToString()
		}
		return v
	}
	number := func(i int) (v int64) {
		if err == nil {
			v, err = reply[i].AsInt64()
		}
		return v
	}
	copy(b.Session[:], text(0))
	b.Auth, b.Gen = text(1), genOf(text(2))
	b.Lost, b.Served = cache.Cause(number(3)), number(4) != 0
	b.SinceServed, b.Idle = time.Duration(number(5))*time.Millisecond, time.Duration(number(6))*time.Millisecond
	b.Memo, b.Opening = text(7), number(8) != 0
	b.Asked, b.Shared = int(number(9)), uint8(number(10))
	b.Age = time.Duration(number(11)) * time.Millisecond
	if len(reply) > 12 {
		flag = number(12) != 0
	}
	if err != nil || b.Gen == 0 {
		return cache.Binding{}, false, errReply
	}
	b.Ref[0], b.Ref[1] = bucket, 1
	return b, flag, nil
}
