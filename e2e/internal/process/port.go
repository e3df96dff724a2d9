package process

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
)

// The ports that are handed out lie below those that Linux gives to outgoing
// connections (32768 and up), so that no connection takes a port between the
// moment it is handed out and the moment its program listens on it.
const (
	firstPort = 20000
	numPorts  = 10000
)

// FreePort returns a TCP port of 127.0.0.1 on which nothing listens. It stays
// reserved until this process ends: no second call returns it, nor does a call
// in another suite on the same machine.
func FreePort() (int, error) {
	// Two suites begin at different places, and later calls walk on from there.
	start := os.Getpid() * 101
	for i := range numPorts {
		port := firstPort + (start+i)%numPorts
		if !reserve(port) {
			continue
		}
		if listenable(port) {
			return port, nil
		}
	}
	return 0, errors.New("free port: none is left between " + strconv.Itoa(firstPort) + " and " + strconv.Itoa(firstPort+numPorts-1))
}

// FreePorts returns n ports as [FreePort] does.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	return ports, nil
}

// listenable says whether nothing listens on the port, be it on loopback or on
// all addresses.
func listenable(port int) bool {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
