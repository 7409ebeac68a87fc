//go:build !race

package gateway

const thorough = 1
