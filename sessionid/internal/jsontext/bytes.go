package jsontext

// Eight bytes in one word are searched without a loop.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// isByte sets the high bit of each byte of w that is c. It may also set the high bit
// of bytes above such a byte, so only the lowest set bit is sure.
func isByte(w uint64, c byte) uint64 {
	w ^= ones * uint64(c)
	return (w - ones) &^ w
}

// IsSpace reports whether c is white space in JSON.
func IsSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// scalar tells the bytes that numbers, true, false and null are made of.
var scalar = func() (table [256]bool) {
	for c := range table {
		table[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '+' || c == '.'
	}
	return table
}()
