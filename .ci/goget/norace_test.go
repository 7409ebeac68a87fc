//go:build !race

package goget

const more = ""
