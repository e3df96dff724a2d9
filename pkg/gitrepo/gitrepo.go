// Package gitrepo is the port through which Propagator reads and moves a Git
// repository, seen as what it is on the wire: refs that name objects.
//
// There is no worktree and no clone. A caller lists refs (one round trip),
// fetches exactly the commits it needs, builds new objects in memory with
// [NewBlob], [NewTree] and [NewCommit], and pushes them together with the ref
// updates that make them reachable. A push is atomic (all refs or none) and
// every update is a compare-and-swap that names the value it replaces, so two
// writers can never overwrite each other and nothing is ever forced.
//
// Implementations: [Memory] here, and package remote beside this one for real
// servers over https, ssh and file. Package gitrepotest holds the behaviour
// suite that both pass.
//
// All methods are safe for concurrent use. Objects are immutable, so whatever
// was fetched once stays valid for the life of the Repo.
package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Hash is an object id: 40 lower-case hexadecimal digits. The empty Hash means
// "no object": an absent ref, or one that must not exist yet.
type Hash string

// Short returns the first seven digits, as git log --abbrev-commit does.
func (h Hash) Short() string {
	if len(h) > 7 {
		return string(h[:7])
	}
	return string(h)
}

// Valid reports whether the hash is a well-formed, non-empty object id.
func (h Hash) Valid() bool {
	if len(h) != 40 {
		return false
	}
	for _, c := range []byte(h) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Refs maps full ref names (refs/heads/main) to the object they name. For an
// annotated tag that is the tag object; the commit behind it is found with
// [ReadTag]. Peeled entries ("^{}") never appear.
type Refs map[string]Hash

// Filter returns the refs whose names start with one of the prefixes, or a
// copy of all when there is none. It is never nil.
func (r Refs) Filter(prefixes ...string) Refs {
	if len(prefixes) == 0 && r != nil {
		return maps.Clone(r)
	}
	out := Refs{}
	for name, id := range r {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			out[name] = id
		}
	}
	return out
}

// Full names of the two kinds of ref that Propagator uses.
const (
	Heads = "refs/heads/"
	Tags  = "refs/tags/"
)

// FetchOptions says how much of the history behind the wanted commits to get.
type FetchOptions struct {
	// Depth is the number of generations from each wanted commit; 1 is the
	// commit alone. 0 means the whole history.
	Depth int
	// CommitsOnly leaves out trees and blobs where the server can filter
	// (uploadpack.allowFilter); elsewhere they come along unasked.
	CommitsOnly bool
}

// Update moves one ref from Old to New. Old empty: the ref must not exist yet.
// New is never empty: Propagator deletes nothing.
type Update struct {
	Ref      string
	Old, New Hash
}

// Push is one atomic change: the objects the server does not have yet and the
// refs that shall name them. Objects may be in any order; every object that an
// update needs and the server lacks must be among them.
type Push struct {
	Updates []Update
	Objects []Object
}

// Objects is the part of a [Reader] that looks at what is already here. A
// function that walks objects asks for no more, so it also works on objects
// that were built and not yet pushed.
type Objects interface {
	// Object returns an object by id, [ErrNotFound] when it is not here.
	Object(id Hash) (Object, error)
}

// Reader reads refs and objects.
type Reader interface {
	// URL names the repository for messages; credentials are removed.
	URL() string

	// Refs lists the refs whose full names start with one of the prefixes, or
	// all refs when there is none. It costs one round trip. An empty
	// repository gives an empty map and no error.
	Refs(ctx context.Context, prefixes ...string) (Refs, error)

	// Fetch makes the objects (commits or annotated tags) readable with
	// Object, together with their trees and blobs and as many ancestors as the
	// options ask for. What is already there at that depth is not fetched
	// again and then costs no round trip. An id the server does not have, or
	// will not give, is ErrNotFound.
	Fetch(ctx context.Context, ids []Hash, options FetchOptions) error

	// Object returns an object that a Fetch brought or a Push sent; it never
	// goes to the server. ErrNotFound otherwise.
	Object(id Hash) (Object, error)
}

// Writer moves refs.
type Writer interface {
	// Push sends the objects and moves every ref of the push, or none of them.
	// If a ref does not have its Old value the error is a *RefMovedError and
	// nothing changed. Any other error leaves it unknown whether the push took
	// place (the answer may have been lost): list the refs and look.
	Push(ctx context.Context, push Push) error
}

// Repo is one repository.
type Repo interface {
	Reader
	Writer
}

// The errors a caller branches on. Implementations wrap them with the
// repository and the cause.
var (
	// ErrNotFound: the object, or the repository, does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: credentials are missing, wrong or lack the right.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnreachable: no connection, or no sensible answer; trying again may help.
	ErrUnreachable = errors.New("unreachable")
	// ErrRejected: the server refuses this push on principle (a hook, a
	// protected branch, no support for atomic pushes); trying again cannot help.
	ErrRejected = errors.New("push rejected")
)

// RefMovedError reports a lost compare-and-swap: somebody else moved the ref
// first. The caller reads the refs again and plans anew.
type RefMovedError struct {
	Ref string
	// Want is the value the push expected, Got the one the ref has, as far as
	// the server said (empty: unknown or absent).
	Want, Got Hash
}

func (e *RefMovedError) Error() string {
	name := func(h Hash) string {
		if h == "" {
			return "nothing"
		}
		return h.Short()
	}
	if e.Got == "" {
		return fmt.Sprintf("%s is no longer at %s", e.Ref, name(e.Want))
	}
	return fmt.Sprintf("%s moved from %s to %s", e.Ref, name(e.Want), name(e.Got))
}
