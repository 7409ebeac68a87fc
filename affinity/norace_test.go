//go:build !race

package affinity_test

const thorough = 1
