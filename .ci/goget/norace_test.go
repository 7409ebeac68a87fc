//go:build !race

package goget

const moreFlags = ""
