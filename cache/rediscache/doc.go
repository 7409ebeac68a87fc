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
// against Redis 7.0, alone and as a Cluster of three, and against Valkey where
// VALKEY_SERVER names one; none of them has Sentinel. The server's Lua needs cmsgpack, and
// scripts must be allowed keys that they do not declare: both servers have that. With a user of its own, that user needs the commands that store.lua calls,
// EVALSHA, EVAL, SCRIPT LOAD and CLIENT TRACKING, and all keys that begin with
// "{prefix:".
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
// longer than Options.Lag. What this process has changed itself is never answered as it
// was.
//
// # Clients
//
// The client is rueidis: it sends what many goroutines ask in one write, and tracks.
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
