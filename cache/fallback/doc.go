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
// second. When it answers within the Budget, this process offers what it has bound, moved
// and confirmed meanwhile, one session after the other. If another replica was faster,
// its choice counts. After that remote answers again. Results of requests that were
// picked for meanwhile find what their session has become.
//
// Remote may have lost its data, if it was restarted empty. If it has an Epoch, see
// [Epoch], this process notices after an outage and offers all sessions that it knows.
//
// # What is not right yet
//
// A remote that is emptied while no operation fails, because nobody asked meanwhile or it
// was quick, is believed: its sessions are lost. After InvalidateAuth or RenameAuth during
// an outage, a session that was bound to another auth meanwhile can lose that one. What is
// bound at the moment in which the session's loss is offered is lost. Open uses of a
// provisional binding are not carried over the beginning or the end of an outage. If two
// replicas offer one session with the same auth, only the first one's Confirm counts.
package fallback
