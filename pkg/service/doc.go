// Package service is what the programs of the suite have in common: options
// that bind their own flags, the way from an error to an exit code, and an
// HTTP server that an operator can live with.
//
// [Main] turns signals into a cancelled context and an error into an exit
// code. [Options] are the flags for logging and listening; [FromEnvironment]
// lets every flag be given as an environment variable too. A [Server] has up
// to two listeners: one for the program's own handler and one for the
// operator (/healthz, /readyz, /metrics), which may be the same. When its
// context ends it reports itself unready, lets requests that are under way
// finish within a bound, and closes.
//
//	server := service.New(service.Config{Options: options, Handler: handler, Log: log})
//	server.Health().Register("state", loaded)
//	err := server.Run(ctx)
package service
