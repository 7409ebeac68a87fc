package sessionid

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is found inside a member depends neither on its size nor on the number of rows that ask
// for it. There are more places of the operator than are looked up at once.
func TestALargeMemberSaysWhatASmallOneSays(t *testing.T) {
	var own []Place
	for i := range maxInside + 3 {
		own = append(own, Place{Path: fmt.Sprintf("metadata.own%d", i)}, Place{Path: fmt.Sprintf("metadata.deep.own%d", i)})
	}
	several, err := NewExtractor(&Options{Own: own})
	require.NoError(t, err)
	var paths [][2]string
	for i, r := range bodyRows() {
		if strings.Contains(r.name, ".") {
			paths = append(paths, [2]string{r.name, idFor(&r, 14*i)})
		}
	}
	for i, p := range own {
		paths = append(paths, [2]string{p.Path, fmt.Sprintf(`"o-%d"`, i)})
	}
	body := func(pad string, chosen ...[2]string) []byte {
		inside := map[string]string{}
		var tops []string
		for _, c := range chosen {
			path := strings.Split(c[0], ".")
			value := c[1]
			for _, name := range slices.Backward(path[1:]) {
				value = fmt.Sprintf(`%q:%s`, name, value)
				if name != path[1] {
					value = "{" + value + "}"
				}
			}
			if inside[path[0]] == "" {
				tops = append(tops, path[0])
			}
			inside[path[0]] += "," + value
		}
		all := `{"messages":[{"role":"user","content":"q"}]`
		for _, top := range tops {
			all += fmt.Sprintf(`,%q:{"pad":%q%s}`, top, pad, inside[top])
		}
		return []byte(all + "}")
	}
	for _, one := range paths {
		for _, other := range paths {
			for name, e := range map[string]*Extractor{"standard": standard, "everything": everything, "several own": several} {
				small, large := body("", one, other), body(strings.Repeat("x", 2*largeMember), one, other)
				require.Equal(t, e.Extract(nil, small), e.Extract(nil, large), "%s: %s", name, small)
				require.Equal(t, e.Extract(nil, small), e.Extract(nil, slices.Concat(large, []byte(strings.Repeat(" ", 2)))), "%s: %s", name, small)
			}
		}
	}
}
