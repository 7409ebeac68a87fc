package affinity

// Troubles is how many sessions an Affinity remembers trouble of.
func Troubles[T any](a *Affinity[T]) int { return int(a.troubles.n.Load()) }
