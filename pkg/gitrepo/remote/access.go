package remote

import (
	"context"
)

// MayPush asks the server for its list of refs as somebody who is about to
// push, and pushes nothing. The error is that of a Push that is refused at the
// door: [gitrepo.ErrUnauthorized] for credentials that may not write at all. A
// server may still refuse single refs (protected branches, hooks), which only a
// push finds out.
func (r *Repo) MayPush(ctx context.Context) error {
	_, err := do(ctx, r, func(ctx context.Context) (struct{}, error) {
		s, err := r.dial.open(ctx, receivePack)
		if err != nil {
			return struct{}{}, err
		}
		s.close()
		return struct{}{}, nil
	})
	return err
}
