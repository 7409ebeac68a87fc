// Package jsontext finds values in JSON texts. It takes a text and returns
// spans of that text. It builds no tree and copies nothing but strings with
// escapes.
//
//   - [Cursor] walks forward through objects and lists.
//   - [Backward] walks the top-level members of an object from its end.
//   - [Lookup] finds one member of an object.
//   - [Unquote] resolves the escapes of a string.
//
// The package checks a text only as far as it must to find where values end.
// Every string and every bracket must close, but a value that is skipped may be
// malformed inside. No function recurses, and each looks at every byte a bounded
// number of times.
//
// On amd64 with AVX2 the scanners look at 64 bytes at a time. The plain
// scanners give the same answers on other machines.
package jsontext
