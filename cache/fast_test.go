//go:build !race && !arm

package cache_test

const thorough = 1
