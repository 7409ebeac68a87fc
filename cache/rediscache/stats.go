package rediscache

// Stats has counts since the Store was made. Each number is exact.
type Stats struct {
	// RoundTrips counts the requests to the server. The 256 requests of an operation on all
	// buckets count as one.
	RoundTrips uint64
	// Near counts the operations that the near-cache has answered.
	Near uint64
	// Told counts the server's messages that a session may have been changed by another
	// process. Lost counts lost connections on which such messages would have come: each
	// empties the near-cache.
	Told, Lost uint64
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	n := Stats{RoundTrips: s.roundTrips.Load()}
	if s.near != nil {
		n.Near, n.Told, n.Lost = s.near.hits.Load(), s.near.told.Load(), s.near.lost.Load()
	}
	return n
}
