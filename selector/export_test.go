package selector

// Cells returns how many names of auths are known.
func (l *Loads) Cells() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.settled()) + len(l.fresh)
}
