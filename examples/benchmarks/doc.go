// Package benchmarks compares the library with what people use instead, and with the least that a
// pick can cost. An auth is what a gateway chooses among, such as a credential, an account or a
// replica. README.md has the tables and the commands.
//
// The benchmarks are in this directory, by subject. Package requests makes the requests. Package
// floor is a prototype of the least. Package rivals has other caches, package identity other ways
// to read an id, and package deciders other ways to choose an auth. Command table makes the tables.
package benchmarks
