//go:build race

package cache_test

// thorough is what part of the long tests is done: under the race detector, a
// tenth.
const thorough = 10
