// Command program is what the containers of the real node run: it waits for
// the signal to stop. It is also the sandbox ("pause") of each Pod.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if version, err := os.ReadFile("/etc/version"); err == nil {
		fmt.Printf("running %s", version)
	}
	<-stop
}
