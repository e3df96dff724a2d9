package cluster

import (
	"regexp"
	"testing"
)

func TestBrokenImages(t *testing.T) {
	const digest = "@sha256:4ed1d2a1d14c5a8b0ab5d4b1dc4cda7a32cb0fa1f9d1ae1b1a6f3c4f9c8d0e11"
	broken := regexp.MustCompile(brokenImage)
	for image, want := range map[string]bool{
		"registry.example/shop/broken":               true,
		"registry.example/shop/broken:1.0.0":         true,
		"127.0.0.1:20001/shop/broken" + digest:       true,
		"127.0.0.1:20001/shop/broken:1.0.0" + digest: true,
		"127.0.0.1:20001/shop/web:1.0.0-broken":      true,
		"127.0.0.1:20001/shop/web:broken-1" + digest: true,
		"registry.example/shop/web:1.0.0":            false,
		"registry.example/shop/web" + digest:         false,
		"127.0.0.1:20001/shop/web:1.0.0" + digest:    false,
		"registry.example/broken/web:1.0.0":          false,
		"broken.example:5000/web:1.0.0":              false,
		"registry.example/shop/unbroken-web:1.0.0":   false,
		"registry.example/shop/heartbroken:1.0.0":    false,
		"busybox": false,
	} {
		if got := broken.MatchString(image); got != want {
			t.Errorf("%s: got %t, want %t", image, got, want)
		}
	}
}
