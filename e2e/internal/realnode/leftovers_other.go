//go:build !linux

package realnode

import "errors"

func tryRights() error { return errors.ErrUnsupported }

func killShims(string) {}

func unmountBelow(string) {}
