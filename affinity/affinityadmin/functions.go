package affinityadmin

import (
	"fmt"
	"html/template"
	"strconv"
	"time"
)

// functions are the functions of the templates.
var functions = template.FuncMap{
	"percent": func(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) },
	"money":   func(cost float64) string { return fmt.Sprintf("%.2f", cost) },
	"number": func(n any) string {
		if p, ok := n.(*int); ok {
			n = *p
		}
		return grouped(fmt.Sprint(n))
	},
	"tokens": func(n float64) string { return grouped(strconv.FormatFloat(n, 'f', 0, 64)) },
	"load":   func(l float64) string { return strconv.FormatFloat(l, 'g', 4, 64) },
	"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"pair": func(title string, list []count) any {
		return struct {
			Title string
			List  []count
		}{title, list}
	},
	"seconds": func(s float64) string { return (time.Duration(s*1e3) * time.Millisecond).String() },
}

// grouped puts thin spaces between the thousands of a whole number.
func grouped(digits string) string {
	sign := ""
	if digits != "" && digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return sign + digits
}
