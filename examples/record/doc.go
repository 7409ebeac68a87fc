// Package record records the requests of a gateway, so that examples/replay can tell what
// affinity would do with them. Nobody can read in a recording what was said.
//
// A text becomes digests: one for each kilobyte, which also stands for all that is before it
// in the text. So texts that begin alike have digests that begin alike, and sizes stay. An id
// becomes another id of the same form. Roles, types, and the names of members that an API
// has, stay; all other names, values and headers do not. The digests are keyed with a random
// key that is in no recording: nobody can find out by trying whether a text is in it, and two
// recordings cannot be compared.
//
// What stays visible: when requests were sent, how long they are and how many messages they
// have, which of them begin alike, what their answers have cost, and which API and tools' ids
// of what form were used.
//
//	rec, err := record.New(file)
//	...
//	err = rec.Record(record.Request{At: begun, Header: r.Header, Body: body, Usage: usage})
//
// Parse reads a line of a recording. The texts that it makes of the digests are as long as
// what they stand for, so that package sessionid names the same sessions.
package record
