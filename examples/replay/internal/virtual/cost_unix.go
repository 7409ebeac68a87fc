//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package virtual

import "golang.org/x/sys/unix"

// Real returns the time of the machine's own clock in nanoseconds, which goes on inside a
// bubble, too. ok is false where there is no way to read it.
func Real() (nanos int64, ok bool) {
	var at unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at)
	return at.Nano(), err == nil
}
