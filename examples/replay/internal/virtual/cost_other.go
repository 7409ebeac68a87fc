//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package virtual

// Real says that there is no way to read the machine's own clock inside a bubble.
func Real() (nanos int64, ok bool) { return 0, false }
