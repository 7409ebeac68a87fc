// Package rediscache keeps bindings in Redis or Valkey, so that the replicas of a gateway
// agree on them and a restart loses none. A binding says which auth a session has: an auth is
// what the gateway chooses among, such as a credential, an account or a replica. The package
// is a module of its own.
//
//	remote, err := rediscache.Open("redis://127.0.0.1:6379", nil)
//	if err != nil { ... }
//	store, err := fallback.New(remote, nil) // no pick fails or waits because the server is away
//	if err != nil { ... }
//	defer store.Close() // closes remote, too
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{Store: store})
//
// All replicas must use the same names of auths, and the same affinityhttp.Options.TenantKey.
//
// # When the server is away
//
// Each operation fails, after Options.Timeout at the latest. With package fallback in front of
// the Store, as above, this process answers meanwhile, and no request waits. The Store
// reconnects by itself.
//
// # Servers
//
// The server is Redis 7.0 or later, or Valkey: alone, with Sentinel, or as a Cluster. The
// tests run against Redis 7.0 in each of these ways, and against Valkey 8.0 alone. The
// server's Lua must have cmsgpack, and must allow scripts keys that they do not declare: both
// servers do. A server user for the Store needs the commands that store.lua calls, EVALSHA,
// EVAL, SCRIPT LOAD and CLIENT TRACKING, and all keys that begin with "{prefix:".
//
// A failover loses what the master had not sent to its replica yet. Those sessions are then
// new sessions. While a slot moves to another node, operations on its sessions can fail.
//
// # What is stored
//
// The server holds digests, and no text of any client: 128-bit keys of sessions inside a
// SHA-256 of their scope, the names of auths, and the memo of each session, which package
// affinity fills with names of auths and times. A key that is not used expires, at the latest
// after three times the sum of TTL and Lag. Only the epochs stay, one small key for each of
// 256 parts. Values are packed with MessagePack; store.lua describes them. All of it can be
// deleted at any time, which costs prompt caches and nothing else.
//
// All sessions of one tenant are in one hash slot, because an operation is one script and a
// script uses one slot. So the tenants of a Cluster are spread over its nodes, in up to 256
// parts, but a single tenant is not.
//
// # Round trips
//
// Each operation is one round trip. Get and Confirm usually need none, if an explicit id names
// the session and its auth has served it: the near-cache in this process answers, and the
// server tells it when such a session has changed (client tracking). If another process has
// changed a session, the near-cache may give the old answer until the server's message
// arrives, but never for longer than Options.Lag. It never gives an old answer after a change
// by this process: internal/proving checks that Bind, Get and the operations on their results
// are linearizable for requests with ids. There is one thing that only a request to the server
// does: it takes back an Also that another process's request has taken from its session. With
// the near-cache that happens after Lag at the latest.
//
// These figures were measured with one process, and with the server beside it on two cores:
//
//	cd cache/rediscache/internal/proving
//	go test -run '^$' -bench 'Pick|Hit' -benchtime 50000x .
//	go test -run '^$' -bench Tenant -benchtime 3x .
//
// With the near-cache, Get and Confirm of a bound session run 2 million times a second, a
// third of cache.Memory's rate, and without a round trip. Without the near-cache they run
// 8,000 times a second with 10 goroutines and 9,000 with 100, limited by the server's one
// core. 10^5 sessions of one tenant need 730 bytes each. InvalidateAuth of one in ten of them
// takes 0.22 s.
//
// # Clients
//
// The client is rueidis. It sends the commands of many goroutines in one write, and it
// supports tracking. The benchmark above compares one plain GET of it with one of go-redis
// 9.22: 99,000 a second against 66,000 with 10 goroutines, 140,000 against 62,000 with 100.
//
// A Store cannot use a go-redis client. The near-cache has to hear of each change of a key
// that a script was given, and of each lost connection, on a single server and in a Cluster.
// According to its README, the caching of go-redis 9.23 covers only replies of its own
// commands on a single server. A gateway that already has a redis.Options repeats its address
// and credentials:
//
//	rediscache.New(rueidis.ClientOption{
//		InitAddress: []string{o.Addr}, Username: o.Username, Password: o.Password,
//		SelectDB: o.DB, TLSConfig: o.TLSConfig,
//	}, nil)
package rediscache
