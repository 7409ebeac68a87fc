package rediscache

// Stats counts what a Store has done since it was made. Each number is exact.
type Stats struct {
	// RoundTrips is how often the server was asked. The 256 questions of an operation
	// on all buckets are one.
	RoundTrips uint64
	// Near is how many operations the near-cache has answered.
	Near uint64
	// Told is how often the server has said that a session has changed which another
	// process may have changed, and Lost how often a connection was lost that would
	// have said so: then the near-cache was emptied.
	Told, Lost uint64
}

// Stats is a snapshot.
func (s *Store) Stats() Stats {
	n := Stats{RoundTrips: s.roundTrips.Load()}
	if s.near != nil {
		n.Near, n.Told, n.Lost = s.near.hits.Load(), s.near.told.Load(), s.near.lost.Load()
	}
	return n
}
