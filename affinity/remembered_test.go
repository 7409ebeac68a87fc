package affinity

// Remembered is how much an Affinity knows of pools and models, and of prefixes.
func Remembered[T any](a *Affinity[T]) (traffics, prefixes int) {
	if known := a.traffics.of.Load(); known != nil {
		traffics = len(*known)
	}
	if a.begun.lru != nil {
		prefixes = a.begun.lru.Len()
	}
	return traffics, prefixes
}
