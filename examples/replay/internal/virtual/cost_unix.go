//go:build linux || darwin

package virtual

import (
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Cost runs f and returns how long it has used its processor, in nanoseconds. Other work on
// the machine does not count. ok is false where that cannot be measured.
func Cost(f func()) (nanos int64, ok bool) {
	// The time is that of the thread, so the goroutine must stay on its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := busy()
	f()
	return max(busy()-begin-overhead(), 0), begin > 0
}

// busy returns how long the thread has been running, or 0 if the system does not say.
func busy() int64 {
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at) != nil {
		return 0
	}
	return at.Nano()
}

// overhead returns the cost of measuring.
var overhead = sync.OnceValue(func() int64 {
	all := make([]int64, 1001)
	for i := range all {
		begin := busy()
		all[i] = busy() - begin
	}
	slices.Sort(all)
	return all[len(all)/2]
})
