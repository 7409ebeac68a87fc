//go:build !race && !arm

package affinity_test

const thorough = 1
