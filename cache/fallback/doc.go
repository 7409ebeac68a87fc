// Package fallback puts a store in front of another [cache.Store], called remote, that can be
// unreachable, for example because it is over a network. While remote cannot be reached, this
// process answers: no operation fails for that reason, and none waits for long. An auth is
// what the gateway chooses among: a credential, an account, a replica.
//
//	remote, err := rediscache.Open("redis://127.0.0.1:6379", nil)
//	if err != nil { ... }
//	store, err := fallback.New(remote, nil)
//	if err != nil { ... }
//	defer store.Close() // closes remote, too
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{Store: store})
//
// # While remote answers
//
// Remote does each operation, within Options.Budget. This process keeps a bounded table of
// what remote says: the binding of each session that it has seen, by the session's keys.
//
// # While remote is away
//
// The first operation that fails or is late begins an outage. From then on the table answers,
// and no operation waits. A session in the table keeps its auth, its stable name, its
// generation and its memo. A session that is not in the table is bound in this process. Its
// Binding is Local, and package affinity then chooses its auth by rendezvous hashing of the
// session's id, or of the words before its first answer. So replicas choose the same auth
// without talking to each other. The contracts of cache.Store hold within one process: the
// first Bind wins, generations, provisional uses, memos.
//
// The content of a conversation is found by its End, by Fallbacks and Also, and by the keys of
// answers. Two conversations that begin with the same words are one session during an outage,
// and Marks are ignored.
//
// # When remote is back
//
// One goroutine probes remote: first after about 20 ms, then after ever longer pauses, of a
// second and a half at most. When remote answers within the Budget, this process repeats the
// operations of cache.Admin. Then it offers the sessions that it has bound, moved, confirmed,
// released, used or lost meanwhile, eight at a time. If another replica was faster, that
// replica's choice counts. After that remote answers again. A result of a request that was
// picked for during the outage then applies to what its session has become. If another
// replica's choice counts, such a result changes nothing.
//
// Remote may have done an operation although its answer came too late: the Store takes that
// into account. It does not expect that remote has done an operation that it reports as
// failed.
//
// So for sessions with ids of their own, callers of one process cannot see an outage in
// bindings, in memos, or in the effect of results. model_test.go compares random histories
// with a store that was never away. There are exceptions: no more than 16 open uses of a
// session are carried over; generations differ; a session that was new in the outage gets
// another stable name after it; a session that was lost in it may have another Cause; and
// Binding.SinceServed may be too long by the time that offering takes.
//
// # When remote has lost its data
//
// Remote loses its data if it is flushed, or restarted empty. If remote implements [Epoch],
// this process asks for the epoch after an outage, and whenever remote does not know what is
// in the table. If the epoch has changed, this process offers all sessions and notes that it
// knows. If it has not, what is missing was removed or has expired. A session that was used in
// an outage longer than the TTL has expired only at remote, and is offered. If remote did not
// say its epoch in time before the outage, or does not say it after, all sessions of the tenant
// are offered: then one that another replica has removed meanwhile comes back.
package fallback
