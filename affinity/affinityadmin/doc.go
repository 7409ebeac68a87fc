// Package affinityadmin is a web page that shows what an Affinity does and why: the auths with
// their sessions, the picks of the last hour, what was saved, and which auth would serve a
// session now. An operator can also drain an auth, or move a session away from one. An auth
// is what the gateway chooses among: a credential, an account, a replica.
//
//	log := affinityadmin.NewLog(0)
//	meter, err := savings.New(nil)
//	if err != nil { ... }
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{
//		OnEvent: func(ctx context.Context, e affinity.Event) { log.Observe(ctx, e); meter.Observe(ctx, e) },
//	})
//	if err != nil { ... }
//	page, err := affinityadmin.New(lb, &affinityadmin.Options[*Account]{Auths: pool.All, Log: log, Savings: meter})
//	if err != nil { ... }
//	http.Handle("/debug/affinity/", page) // with the slash: its parts are below that path
//
// The page is for operators. It has no login: serve it where only they can reach it, for
// example on a port of its own on 127.0.0.1. It answers only requests whose host is an IP
// address, localhost or one of Options.Hosts, so that no web site can make an operator's
// browser read it under another name.
//
// It needs no JavaScript and nothing from other servers. It shows nothing that a client has
// sent, except for a request that the operator has pasted.
//
// # Paths
//
//	.                 the overview
//	session?name=     one session, by its stable name
//	explain           POST request=: which auth would serve a request, given as headers, an empty line, and the body
//	drain             POST auth=, on=1 or 0
//	invalidate-auth   POST auth=: its sessions move; the auth may be one that was removed
//	send-away         POST name=: the session moves
//
// With "Accept: application/json" each of them answers in JSON. The last three exist only
// with Options.Write, and refuse requests from pages of another origin.
package affinityadmin
