//go:build race

package affinity_test

// thorough is the part of the long tests that is done. They take one step after the other,
// so the race detector only makes them slower: under it, it is an eighth.
const thorough = 8
