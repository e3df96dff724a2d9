package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Snapshot is a snapshot that was read back or just built.
type Snapshot struct {
	// ID of the snapshot commit, Tree its tree.
	ID   gitrepo.Hash
	Tree gitrepo.Hash
	// Source is the commit it was captured from: the first parent.
	Source gitrepo.Hash
	Lock   *Lock
}

// Captured is the commit of the source branch that the snapshot stems from: its
// source, or where hotfixes were composed, that of the snapshot below them all.
func (s Snapshot) Captured() gitrepo.Hash {
	if s.Lock != nil && s.Lock.Base != nil {
		return s.Lock.Base.Captured
	}
	return s.Source
}

// Build makes the snapshot commit of a source commit and a lock: the objects
// to push and the commit's id. The source commit and its tree must have been
// fetched. Times are those of the source commit, as instants in UTC, so that
// the result depends on nothing but the arguments. The snapshot's Lock is a
// copy, as [Read] would return it.
func Build(r gitrepo.Objects, lock *Lock, identity Identity) (Snapshot, []gitrepo.Object, error) {
	source := gitrepo.Hash(lock.Source.Commit)
	commit, err := gitrepo.ReadCommit(r, source)
	if err != nil {
		return Snapshot{}, nil, fmt.Errorf("source commit %s: %w", source.Short(), err)
	}
	text, err := lock.Encode()
	if err != nil {
		return Snapshot{}, nil, err
	}
	// Decoded again: what cannot be read back must not be written, and what is
	// returned must not change with the argument.
	lock, err = ParseLock(text)
	if err != nil {
		return Snapshot{}, nil, fmt.Errorf("refusing to write an invalid lock: %w", err)
	}
	tree, objects, err := gitrepo.WriteFiles(r, commit.Tree, map[string][]byte{LockFile: text})
	if err != nil {
		return Snapshot{}, nil, fmt.Errorf("write %s: %w", LockFile, err)
	}
	who := gitrepo.Signature{Name: identity.Name, Email: identity.Email, When: commit.Committer.When.UTC()}
	subject, _, _ := strings.Cut(commit.Message, "\n")

	var t Trailers
	t.add(trailerEvent, "snapshot")
	t.add(trailerSnapshot, lock.Version.String())
	t.add(trailerSource, string(source))
	t.add(trailerTag, lock.Source.Tag)
	t.add(trailerScheduled, timestamp(lock.Source.Scheduled))
	t.add(trailerReferenceSHA, string(source))
	t.add(trailerReferenceAuthor, commit.Author.Name+" <"+commit.Author.Email+">")
	t.add(trailerReferenceDate, timestamp(commit.Author.When))
	t.add(trailerReferenceSubject, subject)
	t.add(trailerReferenceRepo, lock.Source.Repository)
	body := fmt.Sprintf("%d images, %d renders.", len(lock.Images), len(lock.Renders))
	if lock.Source.Tag != "" {
		body += fmt.Sprintf("\nCaptured because a person set the tag %s, without proof of a deployment.", lock.Source.Tag)
	}
	object := gitrepo.NewCommit(gitrepo.Commit{
		Tree:      tree,
		Parents:   []gitrepo.Hash{source},
		Author:    who,
		Committer: who,
		Message: t.message(
			fmt.Sprintf("snapshot %s of %s at %s", lock.Version, lock.Source.Branch, source.Short()),
			body,
		),
	})
	s := Snapshot{ID: object.ID(), Tree: tree, Source: source, Lock: lock}
	return s, append(objects, object), nil
}

// ScheduledFor is the scheduled time for which a snapshot's commit says it was
// captured; zero when it does not.
func ScheduledFor(commit gitrepo.Commit) time.Time {
	var at time.Time
	if err := parseTimestamp(&at, ParseTrailers(commit.Message).Get(trailerScheduled)); err != nil {
		return time.Time{}
	}
	return at
}

// ErrNoSnapshot: a commit is not a snapshot.
var ErrNoSnapshot = errors.New("not a snapshot commit")

// Read decodes the snapshot commit id, which must have been fetched with its
// tree. want, unless zero, is the version it must have: a tag that was put on
// another snapshot, or on a commit that is none, is refused.
func Read(r gitrepo.Objects, id gitrepo.Hash, want Version) (Snapshot, error) {
	object, err := r.Object(id)
	if err != nil {
		return Snapshot{}, fmt.Errorf("commit %s: %w", id.Short(), err)
	}
	if object.Type == gitrepo.TypeTag {
		return Snapshot{}, fmt.Errorf("%w: %s is an annotated tag; snapshot tags are lightweight", ErrNoSnapshot, id.Short())
	}
	commit, err := gitrepo.ParseCommit(object)
	if err != nil {
		return Snapshot{}, fmt.Errorf("commit %s: %w", id.Short(), err)
	}
	entry, err := gitrepo.Lookup(r, commit.Tree, LockFile)
	// A tree that was not fetched (gitrepo.ErrNotFound) proves nothing.
	if errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, fmt.Errorf("%w: %s has no %s", ErrNoSnapshot, id.Short(), LockFile)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("commit %s: %s: %w", id.Short(), LockFile, err)
	}
	blob, err := r.Object(entry.ID)
	if err != nil {
		return Snapshot{}, fmt.Errorf("commit %s: %s: %w", id.Short(), LockFile, err)
	}
	lock, err := ParseLock(blob.Data)
	if err != nil {
		return Snapshot{}, fmt.Errorf("commit %s: %w", id.Short(), err)
	}
	if len(commit.Parents) == 0 || string(commit.Parents[0]) != lock.Source.Commit {
		return Snapshot{}, fmt.Errorf("%w: %s does not follow the source commit %s that its lock names", ErrNoSnapshot, id.Short(), lock.Source.Commit)
	}
	if !want.IsZero() && lock.Version != want {
		return Snapshot{}, fmt.Errorf("%w: tag %s names the snapshot %s", ErrNoSnapshot, want, lock.Version)
	}
	return Snapshot{ID: id, Tree: commit.Tree, Source: commit.Parents[0], Lock: lock}, nil
}

// SourceAuthor is the e-mail address of who wrote the source commit of a
// snapshot, as the snapshot's commit says; empty when it does not.
func SourceAuthor(commit gitrepo.Commit) string {
	author := ParseTrailers(commit.Message).Get(trailerReferenceAuthor)
	open := strings.LastIndexByte(author, '<')
	if open < 0 || !strings.HasSuffix(author, ">") {
		return ""
	}
	return author[open+1 : len(author)-1]
}
