package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// print writes a result to stdout in the chosen format. The JSON and YAML
// forms are the value's; table is how people see it.
func (a *app) print(value any, table func(w io.Writer)) error {
	switch a.output {
	case outputJSON:
		encoder := json.NewEncoder(a.stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	case outputYAML:
		text, err := toYAML(value)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(text)
		return err
	}
	var text strings.Builder
	table(&text)
	_, err := io.WriteString(a.stdout, text.String())
	return err
}

// toYAML writes the JSON form as YAML: the same names in the same order.
func toYAML(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil { // JSON is YAML
		return nil, err
	}
	blockStyle(&node)
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return nil, err
	}
	return []byte(b.String()), encoder.Close()
}

func blockStyle(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		blockStyle(child)
	}
}

// note tells people something that is not the result.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

// writeTable aligns columns. Cells are foreign text, so that nothing in them
// may steer a terminal.
func writeTable(w io.Writer, header []string, rows [][]string) {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = printable(cell); cell == "" {
				cells[i] = "-"
			}
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	_ = table.Flush() // to memory
	for line := range strings.Lines(b.String()) {
		_, _ = fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// fact is a name and a value.
type fact struct{ name, value string }

// writeFacts aligns the values, leaving out those that are empty.
func writeFacts(w io.Writer, facts ...fact) {
	width := 0
	for _, f := range facts {
		if f.value != "" {
			width = max(width, len(f.name))
		}
	}
	for _, f := range facts {
		if f.value != "" {
			_, _ = fmt.Fprintf(w, "  %-*s  %s\n", width, f.name, printable(f.value))
		}
	}
}

// printable puts text on one line without control characters.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s)
}

// moment writes a time for a table; the zero time is empty.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// shortDigest is enough of a digest to tell images apart.
func shortDigest(digest string) string {
	const keep = len("sha256:") + 12
	return digest[:min(len(digest), keep)]
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
