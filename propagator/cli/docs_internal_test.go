package cli

import (
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/changes"
)

// TestDocs keeps docs/cli.md complete: every command, every flag of ours and
// every field of a result is in it.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Join(strings.Fields(string(text)), " ")
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !strings.Contains(docs, cmd.CommandPath()) {
			t.Errorf("docs/cli.md lacks %s", cmd.CommandPath())
		}
		if cmd.Long == "" && cmd.Name() != "version" || cmd.HasExample() == (cmd.Name() == "version") {
			t.Errorf("the help of %s teaches nothing", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(docs, "--"+f.Name) && f.Shorthand == "" {
				t.Errorf("docs/cli.md lacks --%s of %s", f.Name, cmd.CommandPath())
			}
		})
		for _, child := range cmd.Commands() {
			if child.Name() != "demo" { // documents itself
				walk(child)
			}
		}
	}
	walk(command(nil, io.Discard, io.Discard))
	for _, result := range []any{
		pipelineStatus{},
		ledger{},
		difference{},
		changes.Notes{},
		snapshotList{},
		snapshotDetails{},
		created{},
		verification{},
		promoted{},
		mirrorReport{},
		examined{},
		annotated{},
		approved{},
		asked{},
		explanation{},
		planned{},
		waited{},
		recovery{},
		hotfixList{},
		hotfixDetails{},
		started{},
		composedPatches{},
		hotfixPromoted{},
		mergedBack{},
		pullRequestSeen{},
		closedHotfix{},
	} {
		for _, field := range fields(reflect.TypeOf(result)) {
			if !strings.Contains(docs, "`"+field+"`") {
				t.Errorf("docs/cli.md lacks the field %s of %T", field, result)
			}
		}
	}
}

// TestPageCommands: what docs/hotfixes.md tells people to type can be typed.
func TestPageCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/hotfixes.md")
	if err != nil {
		t.Fatal(err)
	}
	typed := regexp.MustCompile("(?m)^(?:\\$ )?propagator ([^|`\n]+)|`propagator ([^`]+)`").FindAllStringSubmatch(string(text), -1)
	if len(typed) < 20 {
		t.Fatalf("found only %d commands", len(typed))
	}
	for _, match := range typed {
		line := strings.Join(strings.Fields(match[1]+match[2]), " ")
		cmd, args, err := command(nil, io.Discard, io.Discard).Find(strings.Fields(line))
		if err != nil || !cmd.Runnable() || cmd.Name() == "propagator" {
			t.Errorf("there is no command: propagator %s", line)
			continue
		}
		for _, arg := range args {
			name, ok := strings.CutPrefix(arg, "--")
			if ok && cmd.Flag(name) == nil {
				t.Errorf("%s has no flag %s: propagator %s", cmd.CommandPath(), arg, line)
			}
		}
	}
}

// fields lists the JSON names of a type, and of everything in it.
func fields(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "time" {
		return nil
	}
	var names []string
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" && !field.Anonymous {
			continue // not exported, or text (a version)
		}
		if name != "" {
			names = append(names, name)
		}
		names = append(names, fields(field.Type)...)
	}
	return names
}
