//go:build !race

package cache_test

const thorough = 1
