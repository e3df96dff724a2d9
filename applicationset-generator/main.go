// Command applicationset-generator answers Argo CD's ApplicationSet plugin
// generator with what each environment has been promoted to.
package main

import (
	"context"
	"os"

	"github.com/fleeting-taas/propagator/applicationset-generator/generator"
)

func main() {
	os.Exit(generator.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
