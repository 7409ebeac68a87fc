// Package rediscache keeps bindings in Redis or Valkey, so that replicas of a gateway
// agree on them, and a restart costs none. It is a module of its own.
//
//	remote, err := rediscache.Open("redis://127.0.0.1:6379", nil)
//	if err != nil { ... }
//	store, err := fallback.New(remote, nil) // no pick fails or waits because the server is away
//	if err != nil { ... }
//	defer store.Close() // closes remote, too
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{Store: store})
//
// All replicas need the same names of auths, and the same affinityhttp.Options.TenantKey.
//
// # When the server is away
//
// Each operation fails, after Options.Timeout at the latest. Put package fallback in front:
// then this process answers by what it knows, and no request waits. The Store connects
// again by itself.
//
// # Servers
//
// Redis 7.0 or later and Valkey, alone, with Sentinel, or as a Cluster. The tests run
// against Redis 7.0 in each of these ways, and against Valkey 8.0 alone. The server's Lua
// needs cmsgpack, and scripts must be allowed keys that they do not declare: both servers
// have that. With a user of its own, that user needs the commands that store.lua calls,
// EVALSHA, EVAL, SCRIPT LOAD and CLIENT TRACKING, and all keys that begin with
// "{prefix:".
//
// A failover loses what the master had not told its replica yet: those sessions are new
// sessions. While a slot goes to another node, operations on its sessions can fail.
//
// # What is stored
//
// Digests, and no words of anybody: 128-bit keys of sessions inside a SHA-256 of their
// scope, the names of auths, and the memo of a session, which package affinity fills with
// names of auths and times. No key lives longer than three times the TTL without being
// used. Values are packed with MessagePack; store.lua says what is where. Everything
// can be deleted at any time: it costs prompt caches and nothing else.
//
// All sessions of one tenant are in one hash slot, because an operation is one script
// and a script sees one slot. So the tenants of a Cluster spread over its nodes, in up
// to 256 parts, and one single tenant does not.
//
// # Round trips
//
// Each operation is one. For a session that an explicit id names, and that its auth has
// served, Get and Confirm usually need none: the near-cache in this process answers, and
// the server says when such a session has changed (client tracking). What another process
// has changed may be answered as it was until the server's word arrives, and never for
// longer than Options.Lag. What this process changes itself is not answered as it was:
// internal/proving checks that Bind, Get and what follows from them are linearizable for
// requests with ids. One thing a request does on the server alone: it takes back an Also
// that another process's request has taken from its session. The near-cache does that at
// the latest after Lag.
//
// Measured by one process, the server beside it on two cores, with
//
//	cd cache/rediscache/internal/proving
//	go test -run '^$' -bench 'Pick|Hit' -benchtime 50000x .
//	go test -run '^$' -bench Tenant -benchtime 3x .
//
// Get and Confirm of a bound session: 2 million times a second with the near-cache, a
// third of cache.Memory's, and without a round trip; without the near-cache 8,000 times at
// 10 goroutines and 9,000 at 100, where the server's one core is the bound. 10^5 sessions
// of one tenant need 730 bytes each. InvalidateAuth of one in ten of them takes 0.22 s.
//
// # Clients
//
// The client is rueidis: it sends what many goroutines ask in one write, and tracks. The
// benchmark above has one plain GET of it beside one of go-redis 9.22: 99,000 a second
// and 66,000 at 10 goroutines, 140,000 and 62,000 at 100.
//
// There is no way to hand in a client of go-redis. The near-cache has to hear of each
// change of a key that a script was given, and of each lost connection, on a single
// server and in a Cluster. The caching of go-redis 9.23 is for the replies of its own
// commands on a single server, says its README. A gateway that has a redis.Options
// already gives its address and credentials again:
//
//	rediscache.New(rueidis.ClientOption{
//		InitAddress: []string{o.Addr}, Username: o.Username, Password: o.Password,
//		SelectDB: o.DB, TLSConfig: o.TLSConfig,
//	}, nil)
package rediscache
