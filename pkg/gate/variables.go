package gate

import (
	"fmt"
	"strings"
)

// variable is a name in braces that stands for something of the Subject.
type variable struct {
	name  string
	value func(Subject) string
}

// variables are all there are; other text in braces is what it is.
var variables = []variable{
	{"{pipeline}", func(s Subject) string { return s.Pipeline }},
	{"{environment}", func(s Subject) string { return s.Environment }},
	{"{version}", func(s Subject) string {
		if s.Version.IsZero() {
			return ""
		}
		return s.Version.String()
	}},
	{"{commit}", func(s Subject) string { return s.Commit }},
	{"{source}", func(s Subject) string { return s.SourceCommit }},
}

func variableNames() string {
	names := make([]string, 0, len(variables))
	for _, v := range variables {
		names = append(names, v.name)
	}
	return strings.Join(names, " ")
}

// leadingVariable returns the variable that text begins with, or "".
func leadingVariable(text string) string {
	for _, v := range variables {
		if strings.HasPrefix(text, v.name) {
			return v.name
		}
	}
	return ""
}

// expand puts the Subject into a template, once: what a value looks like does not
// matter. A variable without a value is an error, as the question would be
// another one without it.
func expand(template string, s Subject, escape func(string) string) (string, error) {
	var pairs []string
	for _, v := range variables {
		if !strings.Contains(template, v.name) {
			continue
		}
		value := v.value(s)
		if value == "" {
			return "", fmt.Errorf("nothing is known that %s stands for", v.name)
		}
		pairs = append(pairs, v.name, escape(value))
	}
	return strings.NewReplacer(pairs...).Replace(template), nil
}
