package kube

import (
	"errors"
	"net/http"
	"time"
)

// Clock is somebody else's clock, read once.
type Clock struct {
	// Offset is how far it is ahead of the clock of this machine.
	Offset time.Duration
	// Uncertainty is how wrong Offset can be: the header has whole seconds,
	// and nobody knows at which moment of the request it was written.
	Uncertainty time.Duration
}

// ReadClock reads the Date header of an answer to a request that was sent at
// one moment and answered at another.
func ReadClock(header http.Header, sent, received time.Time) (Clock, error) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return Clock{}, errors.New("the answer has no usable Date header")
	}
	const half = 500 * time.Millisecond // the header cuts fractions off
	way := received.Sub(sent) / 2
	return Clock{Offset: date.Add(half).Sub(sent.Add(way)), Uncertainty: half + way}, nil
}
