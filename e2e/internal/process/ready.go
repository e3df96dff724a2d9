package process

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Answers returns a readiness check that wants the status 200 from url. A nil
// client means one without a proxy, so that a proxy of the machine is never
// asked for loopback addresses.
func Answers(client *http.Client, url string) func(context.Context) error {
	if client == nil {
		client = &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		// Why it is not ready stands in the body, a line for each check.
		body, err := io.ReadAll(io.LimitReader(resp.Body, 2<<10))
		if err != nil {
			return fmt.Errorf("GET %s: %w", req.URL.Redacted(), err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s: %s", req.URL.Redacted(), resp.Status, body)
		}
		return nil
	}
}

// Listens returns a readiness check that wants a TCP connection to address.
func Listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Exists returns a readiness check that wants a file, for instance a socket.
func Exists(path string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(path)
		return err
	}
}
