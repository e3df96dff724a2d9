package gitrepo

// Opener opens a repository. A Repo keeps in memory all that it fetched, so a
// process that runs for months opens a new one now and then.
type Opener func() (Repo, error)

// Fixed returns an opener that always gives the same Repo.
func Fixed(r Repo) Opener { return func() (Repo, error) { return r, nil } }
