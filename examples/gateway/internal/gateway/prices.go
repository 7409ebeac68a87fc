package gateway

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity/savings"
)

// Prices are what tokens cost, by the model: a name, or the beginning of names with a * at
// its end.
type Prices map[string]savings.Prices

// Of returns the price of a model: the one of its name, or else that of the longest matching
// beginning. A model without a price costs nothing.
func (p Prices) Of(model string) savings.Prices {
	if exact, ok := p[model]; ok {
		return exact
	}
	best, price := "", savings.Prices{}
	for of, what := range p {
		if begins, ok := strings.CutSuffix(of, "*"); ok && strings.HasPrefix(model, begins) && len(of) > len(best) {
			best, price = of, what
		}
	}
	return price
}

// String implements flag.Value.
func (p Prices) String() string { return fmt.Sprintf("%d prices", len(p)) }

// Set takes model=prompt,cached,written,output.
func (p Prices) Set(s string) error {
	at := strings.LastIndexByte(s, '=')
	if at < 1 {
		return usagef("want model=prompt,cached,written,output")
	}
	parts := strings.Split(s[at+1:], ",")
	if len(parts) != 4 {
		return usagef("want four prices with commas between them: prompt,cached,written,output")
	}
	var of [4]float64
	for i, part := range parts {
		price, err := strconv.ParseFloat(part, 64)
		if err != nil || !(price >= 0) || math.IsInf(price, 1) {
			return usagef("%q is not a price: want a number of at least 0", part)
		}
		of[i] = price
	}
	p[s[:at]] = savings.Prices{Prompt: of[0], Cached: of[1], CacheWritten: of[2], Output: of[3]}
	return nil
}
