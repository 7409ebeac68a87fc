package talk

import (
	"math"
	"math/rand/v2"
	"strings"
)

var words = strings.Fields(`the a my your our this that of to for with from on at and or but if is are was will
can would could should please also flight flights booking reservation ticket cabin seat economy business class
passenger bag bags card certificate payment price refund policy insurance date day morning evening departure arrival
city airport change cancel confirm check need want know look book pay add keep move return round one two three
direct stop earlier later cheaper available details option total cost member trip time account number agent help
because still only already instead before after about there here not no yes which what when how`)

// prose returns a text of n bytes that says nothing.
func prose(rng *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n+12 {
		sentence := 5 + rng.IntN(12)
		for i := range sentence {
			word := words[rng.IntN(len(words))]
			if i == 0 {
				word = strings.ToUpper(word[:1]) + word[1:]
			}
			b.WriteString(word)
			if i < sentence-1 {
				b.WriteByte(' ')
			}
		}
		b.WriteString([]string{". ", ". ", "? ", "! ", ".\n\n", ": "}[rng.IntN(6)])
	}
	return strings.TrimRight(b.String()[:n-1], " \n") + "."
}

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// code returns n characters of the first so many letters.
func code(rng *rand.Rand, n, of int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rng.IntN(of)]
	}
	return string(b)
}

// around draws a number around median: two thirds are within a factor of exp(sigma), and all
// are from least to most.
func around(rng *rand.Rand, median, sigma float64, least, most int) int {
	return min(max(int(median*math.Exp(sigma*rng.NormFloat64())), least), most)
}
