package gitserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Names of [DefaultUsers].
const (
	// ArgoCD reads.
	ArgoCD = "argocd"
	// Propagator is the identity of the hook.
	Propagator = "propagator"
	// CI writes the tags of new images to the source branch.
	CI = "ci"
	// Developer and Lead are people.
	Developer = "developer"
	Lead      = "lead"
)

// Main is the branch that a repository begins with, and the source branch of
// its pipelines.
const Main = "main"

// User is somebody the server knows. Without a right in some table a user can
// only read.
type User struct {
	Name     string
	Password string
	// Push says whether the user may push at all; without it the server
	// answers 403 before git is asked.
	Push bool
}

// Email is the address under which the user commits.
func (u User) Email() string { return u.Name + "@shop.example" }

// String is the user's name only, so that no log or error shows the password.
func (u User) String() string { return u.Name }

// GoString is String.
func (u User) GoString() string { return u.Name }

// DefaultUsers returns the users of a company with Argo CD and Propagator,
// with new passwords.
func DefaultUsers() []User {
	users := []User{{Name: ArgoCD}, {Name: Propagator, Push: true}, {Name: CI, Push: true}, {Name: Developer, Push: true}, {Name: Lead, Push: true}}
	for i := range users {
		users[i].Password = rand.Text()
	}
	return users
}

// Right lets users push to refs. Of several rights that match a ref the first
// decides; a ref without one is refused.
type Right struct {
	// Refs is a full ref name in which * stands for any characters, slashes
	// included: refs/heads/environments/*.
	Refs string
	// Users who have the right.
	Users []string
	// CreateOnly refuses to move a ref that exists. Every other right allows
	// to create and to fast-forward.
	CreateOnly bool
	// OwnName wants the ref's last element to be the user's name.
	OwnName bool
	// Why is told to those who are refused.
	Why string
}

// DefaultRights returns the protection that docs/operations.md asks of a git
// host, for a repository with these pipelines.
func DefaultRights(pipelines ...string) []Right {
	people := []string{Developer, Lead}
	rights := []Right{{Refs: "refs/heads/environments/*", Users: []string{Propagator}, Why: "written by Propagator only"}}
	for _, pipeline := range pipelines {
		rights = append(rights, Right{Refs: "refs/tags/" + pipeline + "/v*", Users: []string{Propagator}, CreateOnly: true, Why: "created by Propagator only"})
	}
	return append(rights,
		Right{Refs: "refs/tags/approve/*", Users: people, CreateOnly: true, OwnName: true, Why: "people approve, under their own name"},
		Right{Refs: "refs/tags/v*", Users: people, CreateOnly: true, Why: "people release"},
		Right{Refs: "refs/heads/" + Main, Users: append([]string{CI}, people...), Why: "people and CI write the source branch"},
		Right{Refs: "refs/heads/feature/*", Users: people, Why: "people develop"},
		Right{Refs: "refs/heads/hotfix/*", Users: people, Why: "people fix"},
	)
}

var (
	userPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	refsPattern = regexp.MustCompile(`^refs/[A-Za-z0-9/._*-]+$`)
	whyPattern  = regexp.MustCompile(`^[A-Za-z0-9 ,./-]*$`)
)

// refusalFile is where [Server.RefusePushes] leaves its reason, in the
// repository.
const refusalFile = "refuse-pushes"

// updateHook writes the table of rights as git's update hook, a script for
// sh. Names are checked, because they become part of the script.
func updateHook(rights []Right) (string, error) {
	var script strings.Builder
	script.WriteString(`#!/bin/sh
# Made from the table of rights: $1 is the ref, $2 its old id, $3 the new one.
# The server's authentication sets REMOTE_USER.
refuse() {
  echo "$1" >&2
  exit 1
}
if [ -s "$GIT_DIR/` + refusalFile + `" ]; then refuse "$(cat "$GIT_DIR/` + refusalFile + `")"; fi
case "$3" in *[!0]*) ;; *) refuse "$1: nobody deletes refs" ;; esac
case "$1" in
`)
	for _, right := range rights {
		if err := right.check(); err != nil {
			return "", err
		}
		fmt.Fprintf(&script, "%s)\n", right.Refs)
		fmt.Fprintf(&script, "  case \"$REMOTE_USER\" in %s) ;; *) refuse \"$1: %s\" ;; esac\n", strings.Join(right.Users, "|"), right.Why)
		if right.OwnName {
			fmt.Fprintf(&script, "  [ \"${1##*/}\" = \"$REMOTE_USER\" ] || refuse \"$1: %s\"\n", right.Why)
		}
		if right.CreateOnly {
			script.WriteString("  case \"$2\" in *[!0]*) refuse \"$1: never moves\" ;; esac\n")
		}
		script.WriteString("  ;;\n")
	}
	script.WriteString("*) refuse \"$1: nobody has a right to push here\" ;;\nesac\n")
	return script.String(), nil
}

func (r Right) check() error {
	switch {
	case !refsPattern.MatchString(r.Refs):
		return fmt.Errorf("right %q: refs must be a full ref name with letters, digits and / . _ - *", r.Refs)
	case len(r.Users) == 0:
		return fmt.Errorf("right %s: no users", r.Refs)
	case slices.ContainsFunc(r.Users, func(name string) bool { return !userPattern.MatchString(name) }):
		return fmt.Errorf("right %s: user names are lower-case letters, digits and dashes", r.Refs)
	case !whyPattern.MatchString(r.Why):
		return fmt.Errorf("right %s: the reason may only have letters, digits, spaces and , . / -", r.Refs)
	}
	return nil
}

// checkUsers reports users that the server cannot have.
func checkUsers(users []User) error {
	var errs []error
	seen := map[string]bool{}
	for _, user := range users {
		switch {
		case !userPattern.MatchString(user.Name):
			errs = append(errs, fmt.Errorf("user %q: names are lower-case letters, digits and dashes", user.Name))
		case user.Password == "":
			errs = append(errs, fmt.Errorf("user %s has no password", user.Name))
		case seen[user.Name]:
			errs = append(errs, fmt.Errorf("two users are called %s", user.Name))
		}
		seen[user.Name] = true
	}
	return errors.Join(errs...)
}
