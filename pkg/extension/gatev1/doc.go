// Package gatev1 is the generated code of the contract between Propagator and
// the programs that are its gates, in gate.proto.
//
// Regenerating needs protoc 3.21 or newer with its well-known types (Debian:
// protobuf-compiler and libprotobuf-dev), protoc-gen-go at the version of
// google.golang.org/protobuf in go.mod, and protoc-gen-go-grpc v1.6.1.
package gatev1

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=module=github.com/fleeting-taas/propagator --go-grpc_out=../../.. --go-grpc_opt=module=github.com/fleeting-taas/propagator pkg/extension/gatev1/gate.proto
