//go:build race

package gateway

// thorough is the part of the long tests that is done: under the race detector a fifth.
const thorough = 5
