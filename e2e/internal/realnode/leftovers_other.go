//go:build !linux

package realnode

func killShims(string) {}

func unmountBelow(string) {}
