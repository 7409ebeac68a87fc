//go:build race || arm

package affinity_test

// thorough is the part of the long tests that is done. They take one step after the other,
// so the race detector only makes them slower, and so does the emulator with which .ci/run tests
// 32 bits on machines that have none: there it is an eighth.
const thorough = 8
