// Package pluginpb is the generated code of the config management plugin
// contract in plugin.proto.
//
// Regenerating needs protoc 3.21 or newer with its well-known types (Debian:
// protobuf-compiler and libprotobuf-dev), protoc-gen-go at the version of
// google.golang.org/protobuf in go.mod, and protoc-gen-go-grpc v1.6.1.
package pluginpb

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=module=github.com/fleeting-taas/propagator --go-grpc_out=../../.. --go-grpc_opt=module=github.com/fleeting-taas/propagator pkg/cmpwire/pluginpb/plugin.proto
