package content

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sumsOf returns the least sums of the passages of a text.
func sumsOf(text string, most int) []uint64 {
	p := passages{most: most}
	p.read(text)
	return p.sums
}

// numbered is a text of n lines, each of which is a passage.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d %s\n", i, strings.Repeat("said something ", 14))
	}
	return b.String()
}

func TestAPassageIsARunOfLinesThatSayEnough(t *testing.T) {
	enough := strings.Repeat("a", leastPassage)
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"nothing":                {"", 0},
		"one line":               {enough, 1},
		"too short":              {enough[1:], 0},
		"two halves":             {enough[:80] + "\n" + enough[80:], 1},
		"each line is a run":     {enough + "b\n" + enough + "c\n" + enough + "d", 3},
		"equal ones are one":     {enough + "\n" + enough, 1},
		"signs are no words":     {strings.Repeat("-=*# ", 400), 0},
		"tags are no words":      {strings.Repeat("<errors_and_fixes>\n</errors_and_fixes>\n", 40), 0},
		"comments are no words":  {"<!-- " + enough + " -->", 0},
		"other scripts are":      {strings.Repeat("摘要", leastPassage/6) + "尾要", 1},
		"lines of no more words": {strings.Repeat("abcd\n", 64), 0},
		"one line too many":      {strings.Repeat("abcde\n", mostLines-1) + "abcd\nabcd\n", 0},
		"words enough for a run": {strings.Repeat("abcde\n", mostLines), 1},
		"blank lines between":    {strings.Repeat("abcde\n\n  \n", mostLines), 1},
	} {
		require.Len(t, sumsOf(c.text, 10), c.want, name)
	}
}

func TestWhatStandsAroundALineDoesNotCount(t *testing.T) {
	one := strings.Repeat("what was said ", 20)
	want := sumsOf(one, 3)
	require.Len(t, want, 1)
	for _, same := range []string{
		"  " + one + "\r\n", "<summary>" + one + "</summary>", "<summary>\n" + one + "\n</summary>", "\t<a> <b>" + one + "</b> </a>\n",
		one + "\n\nGo on.", "Before.</x>\n\n<y>\n" + one,
	} {
		require.Subset(t, sumsOf(same, 10), want, same)
	}
	require.NotEqual(t, want, sumsOf(one+"and more", 10), "a line is whole")
	require.NotEqual(t, want, sumsOf("1 < 2 "+one, 10), "that is no tag")
	require.NotEqual(t, want, sumsOf(strings.Replace(one, "was", "is", 1), 10))
}

// The least sums of a text are among the least of a text that has it inside.
func TestTheLeastAreFoundInALongerText(t *testing.T) {
	summary, others := numbered(60), strings.ReplaceAll(numbered(4000), "said", "put")
	left := sumsOf(summary, keptPassages)
	require.Len(t, left, keptPassages)
	require.IsIncreasing(t, left)
	require.Subset(t, sumsOf(others[:9000]+summary+others[9000:20000], soughtPassages), left)
	require.Len(t, sumsOf(others, soughtPassages), soughtPassages)
	all := sumsOf(others, 4000)
	require.Len(t, all, 4000)
	require.Equal(t, all[:soughtPassages], sumsOf(others, soughtPassages))
}

func TestALongTextIsNoSummary(t *testing.T) {
	quoted := func(text string) []byte { b, _ := json.Marshal(text); return b }
	long := numbered(longestText/230 - 200)
	require.NotEmpty(t, decoded(quoted(long)))
	require.Empty(t, decoded(quoted(long+long)))
	short := strings.Repeat("ab\n", maxLines)
	require.Empty(t, sumsOf(short+numbered(3), 10), "what comes behind so many lines is not looked at")
	require.NotEmpty(t, sumsOf(short[3*mostLines:]+numbered(3), 10))
}

func TestDraftsAreLeftOut(t *testing.T) {
	for text, want := range map[string]string{
		"<analysis>hm</analysis>\n\nit":                    "\n\n\nit",
		"a<think>b</think>c<think>d</think>e":              "a\nc\ne",
		"<scratchpad>a</scratchpad><thinking>b</thinking>": "\n\n",
		"<analysis>that never ends":                        "<analysis>that never ends",
		"</analysis> a <analysis>b":                        "</analysis> a <analysis>b",
		"nothing":                                          "nothing",
	} {
		require.Equal(t, want, withoutDrafts(text), text)
	}
}

// The passages of an answer are found in each request that contains it, whatever text is around
// it, and however the request spells it.
func FuzzPassages(f *testing.F) {
	f.Add(numbered(3), "Before.\n", "\nBehind.", true)
	f.Add("<analysis>"+numbered(3)+"</analysis>"+strings.Repeat("said ", 90), "<summary>", "</summary>", false)
	f.Add("\"\\\u2028é😀\x00<>"+strings.Repeat("摘要\r\n", 90), "<", ">", true)
	f.Fuzz(func(t *testing.T, answer, before, behind string, parts bool) {
		quoted := func(text string) string { b, _ := json.Marshal(text); return string(b) }
		answer = strings.ToValidUTF8(answer, "?")
		left := ReplyOf([]byte(`[{"role":"assistant","content":` + quoted(answer) + `}]`)).passages
		if len(left) > keptPassages {
			t.Fatalf("%d passages", len(left))
		}
		text := "Summary of the conversation" + strings.ToValidUTF8(before, "?") + "\n" + answer + "\n" + strings.ToValidUTF8(behind, "?")
		body := `{"messages":[{"role":"user","content":` + quoted(text) + `}]}`
		if parts {
			body = `{"contents":[{"role":"user","parts":[{"text":"x"},{"text":` + quoted(text) + `}]},{"role":"model","parts":[{"text":"Got it."}]}]}`
		}
		found := PassagesIn([]byte(body))
		if len(found) > soughtPassages {
			t.Fatalf("%d passages", len(found))
		}
		if len(found) == soughtPassages || withoutDrafts(answer) != answer || len(body) > maxLines {
			return
		}
		has := map[Key]bool{}
		for _, k := range found {
			has[k] = true
		}
		for _, k := range left {
			if !has[k] {
				t.Fatalf("%q inside %q is not found", answer, text)
			}
		}
		PassagesIn([]byte(answer)) // anything
		PassagesIn([]byte(`{"messages":` + answer))
	})
}
