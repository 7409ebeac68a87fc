// Package affinityadmin is a page that shows what an Affinity does and why: the auths with
// their sessions, what picks were over the last hour, what was saved, where a session
// would go now. It can let an operator drain an auth, or send a session away from one.
//
//	log := affinityadmin.NewLog(0)
//	meter, err := savings.New(nil)
//	if err != nil { ... }
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{
//		OnEvent: func(e affinity.Event) { log.Observe(e); meter.Observe(e) },
//	})
//	if err != nil { ... }
//	page, err := affinityadmin.New(lb, &affinityadmin.Options[*Account]{Auths: pool.All, Log: log, Savings: meter})
//	if err != nil { ... }
//	http.Handle("/debug/affinity/", page) // with the slash: what belongs to it is below
//
// The page is for operators. It has no login: serve it where only they can reach it, such
// as on a port of its own on 127.0.0.1. It answers only for addresses, for localhost and
// for Options.Hosts, so that no web site can make an operator's browser ask it under
// another name.
//
// It needs no JavaScript and nothing from elsewhere. Nothing that a client has sent is on
// it, but for a request that the operator has pasted.
//
// # Paths
//
//	.                 the overview
//	session?name=     one session, by its stable name
//	explain           POST request=: where a request would go, given as headers, an empty line, and the body
//	drain             POST auth=, on=1 or 0
//	invalidate-auth   POST auth=: its sessions move
//	send-away         POST name=: the session moves
//
// With "Accept: application/json" each of them answers in JSON. The last three are there
// only with Options.Write, and never for a page of another origin.
package affinityadmin
