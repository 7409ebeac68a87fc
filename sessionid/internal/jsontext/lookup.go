package jsontext

// maxLookup is how many members of an object Lookup reads.
const maxLookup = 256

// Lookup returns the raw value of a member of an object, whose opening bracket
// is the first byte of raw. It returns nil if raw is no object, has no such
// member, or has 256 members or more. The last of duplicate members counts, as
// it does for the decoders of the providers.
func Lookup(raw []byte, name string) (found []byte) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	c := Cursor{text: raw, open: true}
	for range maxLookup {
		if !c.next('}') {
			return found
		}
		n, ok := c.name()
		if !ok {
			return found
		}
		wanted := string(n) == name
		start, v := c.At, c.value()
		if v.Form == Open {
			c.Pass()
			v.Raw = nil
			if !c.Failed {
				v.Raw = c.Since(start)
			}
		}
		if wanted {
			found = v.Raw // nil if the value is broken
		}
	}
	return nil
}
