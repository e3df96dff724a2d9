package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// The errors a caller branches on.
var (
	// ErrNotFound: there is no such object, or no such kind of object.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: the server knows who asks and does not allow it.
	ErrForbidden = errors.New("forbidden")
	// ErrUnauthorized: the server does not accept the credentials.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnreachable: no connection, no answer in time, or no usable one.
	ErrUnreachable = errors.New("unreachable")
)

// Error is why something could not be read.
type Error struct {
	// Path that was asked for.
	Path string
	// Err is one of the sentinels above.
	Err error
	// Said is the server's explanation, or the network's; on one line.
	Said string
}

func (e *Error) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("kubernetes: %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("kubernetes: %s: %v: %s", e.Path, e.Err, e.Said)
}

func (e *Error) Unwrap() error { return e.Err }

// fromStatus makes an error of an answer.
func fromStatus(path string, status int, body []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		said.Message = fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
	}
	return &Error{Path: path, Err: sentinel(status), Said: oneLine(said.Message)}
}

// sentinel is the meaning of a status.
func sentinel(status int) error {
	switch status {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusUnauthorized:
		return ErrUnauthorized
	}
	return ErrUnreachable
}

// cause is what the network said, without the URL, which the message has.
func cause(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "no answer in time"
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return oneLine(err.Error())
}

// oneLine makes foreign text safe for a message.
func oneLine(text string) string {
	const longest = 500
	text = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}
