package selector_test

import "unsafe"

// unsafeBase is where the bytes of a string begin, to see when they are freed.
func unsafeBase(s string) *byte { return unsafe.StringData(s) }
