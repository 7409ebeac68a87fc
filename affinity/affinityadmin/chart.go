package affinityadmin

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// The dimensions of the chart, in its own units.
const (
	chartHeight = 140
	chartStep   = 12
	chartBar    = 10
)

// chart draws the picks of some minutes as bars, one part for each outcome. most is the
// highest bar, and at least 1. The chart contains only numbers and the names of outcomes.
func chart(all []minute) (drawn template.HTML, most uint64) {
	most = 1
	for _, m := range all {
		most = max(most, m.total())
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="Picks a minute over the last hour, at most %d" preserveAspectRatio="none">`,
		len(all)*chartStep, chartHeight, most)
	for i, m := range all {
		y := float64(chartHeight)
		fmt.Fprintf(&b, `<g><title>%s`, time.Unix(m.number*60, 0).UTC().Format("15:04 MST"))
		for o, n := range m.picks {
			if n > 0 {
				fmt.Fprintf(&b, ", %d %s", n, affinity.Outcome(o))
			}
		}
		fmt.Fprintf(&b, `</title><rect class="none" x="%d" y="0" width="%d" height="%d"/>`, i*chartStep, chartStep, chartHeight)
		for o, n := range m.picks {
			if n == 0 {
				continue
			}
			height := float64(n) / float64(most) * chartHeight
			y -= height
			fmt.Fprintf(&b, `<rect class="o-%s" x="%d" y="%.1f" width="%d" height="%.1f"/>`, affinity.Outcome(o), i*chartStep, y, chartBar, height)
		}
		b.WriteString("</g>")
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()), most
}

func (m *minute) total() (n uint64) {
	for _, one := range m.picks {
		n += one
	}
	return n
}
