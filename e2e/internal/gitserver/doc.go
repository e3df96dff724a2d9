// Package gitserver is the git host of an end-to-end suite: real git behind
// http with basic authentication, as a company would run it on a machine of
// its own.
//
// A [Server] hosts bare repositories by git's own upload-pack and receive-pack.
// Its users are data ([User]), and what they may do to which refs is data too ([Right]):
// [Server.Create] turns the table into the repository's update hook, the way
// docs/operations.md describes under "Protecting the refs". Everything that
// nobody has a right to is refused, as are deletions and forced pushes,
// whoever asks.
//
// A [Clone] is a working copy of one user, for what people and CI do with
// git. [Server.Git] is the administrator's view, for what a test has to see.
//
// The server keeps a journal of its requests ([Server.Requests]) and
// misbehaves on command ([Server.Inject], [Server.RefusePushes]).
//
//	server, err := gitserver.Start(ctx, gitserver.Options{Dir: dir, Users: gitserver.DefaultUsers()})
//	err = server.Create(ctx, "shop.git", gitserver.DefaultRights("shop"))
//	clone, err := server.Clone(ctx, "shop.git", gitserver.Developer, work)
package gitserver
