package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/extension"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func subject() gate.Subject {
	return gate.Subject{Pipeline: "shop", Environment: "prod", Version: snapshot.Version{Pipeline: "shop", Major: 1, Minor: 4}}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name string
		// ticket is what the file has in it; none when it is "-".
		ticket   string
		settings map[string]string
		want     gate.Result
		detail   string
	}{
		{"filed", "CHG-4711\n", nil, gate.Pass, "change CHG-4711 is filed for shop/v1.4.0"},
		{"other form", "4711", map[string]string{"pattern": "^[0-9]+$"}, gate.Pass, "change 4711 is filed for shop/v1.4.0"},
		{"not filed", "-", nil, gate.Wait, "no change is filed for shop/v1.4.0; write its number into DIR/shop-v1.4.0"},
		{"empty", "", nil, gate.Refuse, `DIR/shop-v1.4.0 has "" in it, which is not the number of a change`},
		{"no number", "soon", nil, gate.Refuse, `DIR/shop-v1.4.0 has "soon" in it, which is not the number of a change`},
		{"two lines", "CHG-1\nCHG-2\n", nil, gate.Unknown, "DIR/shop-v1.4.0 has more in it than one number"},
		{"long", strings.Repeat("9", 300), nil, gate.Unknown, "DIR/shop-v1.4.0 has more in it than one number"},
		{"relative", "CHG-1", map[string]string{"directory": "tickets"}, gate.Unknown, `the setting directory has to be an absolute path, not "tickets"`},
		{"no directory", "CHG-1", map[string]string{"directory": "/does/not/exist"}, gate.Unknown, "open /does/not/exist/shop-v1.4.0: no such file or directory"},
		{"bad pattern", "CHG-1", map[string]string{"pattern": "("}, gate.Unknown, "the setting pattern is no regular expression: error parsing regexp: missing closing ): `(`"},
		{"unknown setting", "CHG-1", map[string]string{"dir": "/"}, gate.Unknown, `there is no setting "dir", only directory and pattern`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			directory := t.TempDir()
			if test.ticket != "-" {
				write(t, filepath.Join(directory, "shop-v1.4.0"), test.ticket)
			}
			settings := map[string]string{"directory": directory}
			for name, value := range test.settings {
				settings[name] = value
			}
			want := gate.Verdict{Result: test.want, Detail: strings.ReplaceAll(test.detail, "DIR", directory)}
			if diff := cmp.Diff(want, judge(t.Context(), subject(), settings)); diff != "" {
				t.Errorf("judge (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProgram asks the program as the hook does.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gate-change-ticket")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil { //nolint:gosec // this very program
		t.Fatalf("go build: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	tickets := t.TempDir()
	gateOf, err := extension.New(extension.Options{
		Dir: filepath.Dir(program), Command: "gate-change-ticket", SHA256: hex.EncodeToString(sum[:]),
		Settings: map[string]string{"directory": tickets},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := gateOf.Judge(t.Context(), subject()); got.Result != gate.Wait || !strings.HasPrefix(got.Detail, "gate-change-ticket: no change is filed for shop/v1.4.0") {
		t.Errorf("without a ticket: %+v", got)
	}
	write(t, filepath.Join(tickets, "shop-v1.4.0"), "CHG-4711\n")
	want := gate.Verdict{Result: gate.Pass, Detail: "gate-change-ticket: change CHG-4711 is filed for shop/v1.4.0"}
	if diff := cmp.Diff(want, gateOf.Judge(t.Context(), subject())); diff != "" {
		t.Errorf("with a ticket (-want +got):\n%s", diff)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
