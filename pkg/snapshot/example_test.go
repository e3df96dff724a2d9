package snapshot_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// A snapshot is built from a source commit, and an environment's ledger then
// names it.
func Example() {
	ctx := context.Background()
	repo := gitrepo.NewMemory("https://git.example/shop.git")
	source, err := pushSource(ctx, repo)
	if err != nil {
		fmt.Println(err)
		return
	}
	version, err := snapshot.ParseVersion("shop/v1.4.0")
	if err != nil {
		fmt.Println(err)
		return
	}
	lock := &snapshot.Lock{
		Version: version,
		Source:  snapshot.Source{Repository: repo.URL(), Branch: "main", Commit: string(source)},
		Images: []snapshot.Image{{
			Requested: "dev.example/shop/orders:latest",
			Digest:    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
			UsedBy:    []string{"stage/orders"},
		}},
	}
	identity := snapshot.Identity{Name: "propagator", Email: "propagator@localhost"}
	built, objects, err := snapshot.Build(repo, lock, identity)
	if err != nil {
		fmt.Println(err)
		return
	}
	tip, entries, err := snapshot.Append("", snapshot.Entry{
		Event: snapshot.EventPromote, When: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Environment: "stage", Snapshot: version, SourceCommit: source, Actor: "ada",
	}, built, identity)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Tag and branch move together or not at all.
	err = repo.Push(ctx, gitrepo.Push{
		Objects: append(objects, entries...),
		Updates: []gitrepo.Update{
			{Ref: version.Ref(), New: built.ID},
			{Ref: "refs/heads/environments/stage", New: tip},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	entry, err := snapshot.ReadEntry(repo, tip)
	if err != nil {
		fmt.Println(err)
		return
	}
	read, err := snapshot.Read(repo, built.ID, entry.Snapshot)
	if err != nil {
		fmt.Println(err)
		return
	}
	digest, _ := read.Lock.Lookup("dev.example/shop/orders:latest")
	fmt.Println(entry.Subject(), "by", entry.Actor)
	fmt.Println("orders is", digest[:14])
	fmt.Println("next:", version.NextMinor(), "or", version.NextPatch())
	// Output:
	// promote shop/v1.4.0 to stage by ada
	// orders is sha256:9f86d08
	// next: shop/v1.5.0 or shop/v1.4.1
}

// pushSource is what people do.
func pushSource(ctx context.Context, repo gitrepo.Repo) (gitrepo.Hash, error) {
	tree, objects, err := gitrepo.WriteFiles(repo, "", map[string][]byte{"envs/stage/orders/deployment.yaml": []byte("kind: Deployment\n")})
	if err != nil {
		return "", err
	}
	who := gitrepo.Signature{Name: "Ada", Email: "ada@example.com", When: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)}
	commit := gitrepo.NewCommit(gitrepo.Commit{Tree: tree, Author: who, Committer: who, Message: "orders: first version\n"})
	return commit.ID(), repo.Push(ctx, gitrepo.Push{
		Objects: append(objects, commit),
		Updates: []gitrepo.Update{{Ref: "refs/heads/main", New: commit.ID()}},
	})
}
