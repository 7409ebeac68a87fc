//go:build race || arm

package cache_test

// thorough is the part of the long tests that is done: a tenth under the race detector, and on a
// processor that .ci/run may have to emulate.
const thorough = 10
