// Package benchmarks measures the library beside what people use instead, and beside the
// least that a pick can cost. README.md has the tables and the commands. The benchmarks are
// in this directory, by subject; package requests makes the requests, package floor is the
// prototype of the least, package rivals are other caches, package identity are other ways to
// read an id, and package deciders are other ways to choose an auth. Command table makes the
// tables.
package benchmarks
