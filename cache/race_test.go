//go:build race

package cache_test

// thorough is the part of the long tests that is done: under the race detector a tenth.
const thorough = 10
