package promotion

import "fmt"

// Error says at which step of a promotion and on which side something went
// wrong: the first thing an operator asks at night.
type Error struct {
	// Step such as "capture shop/v0.1.0" or "promote shop/v0.1.0 to prod".
	Step string
	// Side is "git", "registry", "render", "config" or "argo cd".
	Side string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Step, e.Side, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Sides of an Error.
const (
	sideGit      = "git"
	sideRegistry = "registry"
	sideRender   = "render"
	sideConfig   = "config"
	sideArgo     = "argo cd"
)

// stepError wraps err unless it is nil or already an *Error.
func stepError(step, side string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok { //nolint:errorlint // only the outermost counts: deeper ones were wrapped on purpose
		return e
	}
	return &Error{Step: step, Side: side, Err: err}
}
