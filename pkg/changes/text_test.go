package changes

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Round prices to cents":           "Round prices to cents",
		"fix(orders): 1.0 → 1.1":          "fix(orders): 1.0 → 1.1",
		"a\n\n# heading\r\n- item":        `a \# heading - item`,
		"# heading":                       `\# heading`,
		"#12, !7 and @grace":              `\#&#8203;12, \!&#8203;7 and \@&#8203;grace`,
		"- item":                          `\- item`,
		"1. item":                         `1\. item`,
		"12) item":                        `12\) item`,
		"=== rule":                        `\=== rule`,
		"<script>alert(1)</script>":       "&lt;script&gt;alert(1)&lt;/script&gt;",
		"&lt;b&gt;":                       "&amp;lt;b&amp;gt;",
		"[click](https://evil.example)":   `\[click\](https://evil.example)`,
		"![x](https://evil.example/x)":    `\!&#8203;\[x\](https://evil.example/x)`,
		"`code` **bold** _it_ ~~no~~ $x$": "\\`code\\` \\*\\*bold\\*\\* \\_it\\_ \\~\\~no\\~\\~ \\$x\\$",
		"a | b":                           `a \| b`,
		`\[x]`:                            `\\\[x\]`,
		"red \x1b[31malert\x1b[0m\x07":    `red \[31malert \[0m`,
		"a\u202eb\u200bc\u00a0d":          "a b c d",
		"\xff\xfe":                        "\uFFFD",
		"":                                "",
		"   ":                             "",
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"envs/prod/x.yaml": "`envs/prod/x.yaml`", "a`b": "a\\`b", "a b": "a b", "": ""} {
		if got := code(in); got != want {
			t.Errorf("code %q: %q, want %q", in, got, want)
		}
	}
}

// loose finds characters that mean something to Markdown or HTML and are not
// escaped.
var loose = regexp.MustCompile("(^|[^\\\\])(\\\\\\\\)*[`*_\\[\\]|~$#!@]|[<>]")

// FuzzEscape: whatever somebody writes stays one line and does nothing.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"# a", "<b>", "[a](b)", "a\nb", "\\`", "&#64;x", "1. a", "@a", "\\\\_", "||", "\u2028#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := Escape(in)
		if strings.ContainsFunc(out, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("%q: %q has what is not printable", in, out)
		}
		rest := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "", "&#8203;", "").Replace(out)
		if strings.Contains(rest, "&") {
			t.Errorf("%q: %q has an entity that it was given", in, out)
		}
		if at := loose.FindString(rest); at != "" {
			t.Errorf("%q: %q has %q", in, out, at)
		}
		if regexp.MustCompile(`^([-+=:#>]|[0-9]+[.)])`).MatchString(out) {
			t.Errorf("%q: %q begins a block", in, out)
		}
	})
}
