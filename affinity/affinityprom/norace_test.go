//go:build !race

package affinityprom_test

// forged is how many sessions, tenants and models a test makes up.
const forged = 1_000_000
