package gitserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpdateHook asks the script itself, as git would.
func TestUpdateHook(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh on this machine")
	}
	script, err := updateHook(DefaultRights("shop"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "update")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	const create, move, remove = "create", "move", "remove"
	none, some, other := strings.Repeat("0", 40), strings.Repeat("1", 40), strings.Repeat("2", 40)
	ids := map[string][2]string{create: {none, some}, move: {some, other}, remove: {some, none}}
	for _, test := range []struct {
		user, act, ref string
		refusal        string // empty: allowed
	}{
		{Propagator, create, "refs/heads/environments/stage", ""},
		{Propagator, move, "refs/heads/environments/stage", ""},
		{Propagator, remove, "refs/heads/environments/stage", "nobody deletes"},
		{Propagator, create, "refs/tags/shop/v1.4.0", ""},
		{Propagator, move, "refs/tags/shop/v1.4.0", "never moves"},
		{Propagator, create, "refs/tags/other/v1.4.0", "nobody has a right"},
		{Propagator, move, "refs/heads/main", "people and CI"},
		{Propagator, create, "refs/tags/approve/prod/shop/v1.4.0/propagator", "people approve"},
		{Developer, move, "refs/heads/environments/prod", "Propagator only"},
		{Developer, create, "refs/tags/shop/v1.4.0", "Propagator only"},
		{Developer, move, "refs/heads/main", ""},
		{Developer, create, "refs/heads/feature/basket", ""},
		{Developer, move, "refs/heads/hotfix/pay-timeout", ""},
		{Developer, remove, "refs/heads/feature/basket", "nobody deletes"},
		{Developer, create, "refs/tags/approve/prod/shop/v1.4.0/developer", ""},
		{Developer, create, "refs/tags/approve/prod/shop/v1.4.0/lead", "own name"},
		{Developer, move, "refs/tags/approve/prod/shop/v1.4.0/developer", "never moves"},
		{Lead, create, "refs/tags/v1.5.0", ""},
		{Lead, create, "refs/heads/anything", "nobody has a right"},
		{CI, move, "refs/heads/main", ""},
		{CI, create, "refs/tags/v1.5.0", "people release"},
		{ArgoCD, move, "refs/heads/main", "people and CI"},
		{"", move, "refs/heads/main", "people and CI"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", test.user, test.act, test.ref), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), sh, file, test.ref, ids[test.act][0], ids[test.act][1])
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_DIR=" + dir, "REMOTE_USER=" + test.user}
			out, err := cmd.CombinedOutput()
			if allowed := err == nil; allowed != (test.refusal == "") || !strings.Contains(string(out), test.refusal) {
				t.Errorf("error %v, said %q; want a refusal with %q", err, out, test.refusal)
			}
		})
	}
}

// TestUpdateHookIsNotInjected: names from the table become part of a script.
func TestUpdateHookIsNotInjected(t *testing.T) {
	for name, right := range map[string]Right{
		"ref":    {Refs: "refs/heads/$(id)", Users: []string{CI}},
		"space":  {Refs: "refs/heads/a b", Users: []string{CI}},
		"user":   {Refs: "refs/heads/main", Users: []string{"*) exit 0;; x"}},
		"nobody": {Refs: "refs/heads/main"},
		"why":    {Refs: "refs/heads/main", Users: []string{CI}, Why: `"; exit 0; "`},
	} {
		t.Run(name, func(t *testing.T) {
			if script, err := updateHook([]Right{right}); err == nil {
				t.Errorf("accepted:\n%s", script)
			}
		})
	}
}

func TestCheckUsers(t *testing.T) {
	if err := checkUsers(DefaultUsers()); err != nil {
		t.Error(err)
	}
	err := checkUsers([]User{{Name: "Ada", Password: "x"}, {Name: "bob"}, {Name: "eve", Password: "y"}, {Name: "eve", Password: "z"}})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three faults, got: %v", err)
	}
}

// TestPasswordIsNotPrinted whatever the verb.
func TestPasswordIsNotPrinted(t *testing.T) {
	user := User{Name: Developer, Password: "hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb+verb, user, []User{user}); strings.Contains(text, "hunter2") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
