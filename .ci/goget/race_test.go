//go:build race

package goget

// With the race detector, a user's programs are built with it, too: .ci/run builds what they need
// that way for the tests of the modules anyway.
const moreFlags = " -race"
