// Package fallback is for a [cache.Store] that can be away, such as one over a network: a
// Store in front of it that never fails for that, and never waits for long.
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
// Each operation is remote's, within Options.Budget. What remote says is remembered, in a
// bounded table: the binding of each session that this process has seen, by its keys.
//
// # While remote is away
//
// The first operation that fails, or is late, ends that. From then on the table answers,
// and nobody waits. A session that is known keeps its auth, its stable name, its
// generation and its memo. One that is not known can be bound all the same, in this
// process: its Binding is Away, and package affinity chooses its auth by rendezvous
// hashing then, by its id, or by the words before its first answer. So replicas choose
// the same auth without talking. What contracts of cache.Store are about one process
// hold: the first Bind wins, generations, provisional uses, memos.
//
// Content is found by its End, by what Past and Also say, and by the keys of answers. Two
// conversations that begin with the same words are one meanwhile, and Marks are not
// looked at.
//
// # When remote is back
//
// One goroutine asks for it, first after 20 ms, then ever more seldom, at least once a
// second. When it answers within the Budget, this process repeats what operations of
// cache.Admin have changed, and then offers what it has bound, moved, confirmed, released,
// used and lost meanwhile, eight sessions at a time. If another replica was faster, its
// choice counts. After that remote answers again. Results of requests that were picked for
// meanwhile find what their session has become, unless another replica's choice counts.
// Then they say nothing about that.
//
// An operation that remote has done, although its answer came too late, is reckoned with.
// One that it has done although it said otherwise is not.
//
// So for sessions with ids of their own, who asks one process cannot see an outage in what
// is bound where, in memos, or in what becomes of results. model_test.go compares random
// histories with a store that was never away. The exceptions: of one session no more than
// 16 open uses are carried over, generations are other ones, a session that was new in the
// outage gets another stable name after it, one that was lost meanwhile may have another
// Cause, and Binding.SinceServed may be too long by as long as
// offering takes.
//
// # When remote has lost its data
//
// That happens if it was restarted empty, or flushed. If it has an Epoch, see [Epoch], this
// process asks for that after an outage, and whenever remote does not know what is known
// here. If it has changed, this process offers all sessions and notes that it knows. What
// is missing under the same epoch was removed, or has expired. A session that was used in
// an outage that was longer than the TTL has expired there alone, and is offered.
package fallback
