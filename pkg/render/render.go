// Package render turns the files of a snapshot into Kubernetes manifests.
//
// Rendering is a pure function: the same tree, application and capabilities
// give the same bytes, wherever and whenever it runs. It reads an [fs.FS] and
// nothing else: no network, no clock, no process environment, no executables.
// What kustomize and Helm would fetch from elsewhere is refused with an error
// that says how to vendor it.
//
// [Discover] finds the applications of an environment, [Render] renders one,
// [Output.Images] lists the image references in what came out, and
// [Output.Pin] replaces them. Pinning edits the text in place, so output
// differs from that of kustomize build or helm template in image references
// and nowhere else.
//
// # Where output may differ from the command line tools
//
//   - Helm: crds/ are included, as Argo CD does it. Functions whose result
//     changes from one call to the next (randAlphaNum, now, genCA, …) may be
//     called, but a chart whose output depends on one is an error. keys and
//     values return their elements sorted by key instead of in random order,
//     dates are in UTC where sprig takes the machine's zone, subcharts that
//     Chart.yaml does not list are taken in the order of their names, schemas
//     of values stand for themselves, and loops over until, untilStep, seq and
//     repeat are bounded.
//   - kustomize: helmCharts render charts of the repository in this process,
//     see the comment of inflate.
//   - YAML: the files of one folder as written, as Argo CD's directory source
//     reads them without recursion.
package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// Input is one application to render.
type Input struct {
	// FS is the repository's tree at one commit.
	FS fs.FS
	// Application from [Discover]: its Renderer is set.
	Application config.Application
	// Namespace is .Release.Namespace of Helm charts; kustomize and YAML
	// ignore it.
	Namespace string
	// Capabilities of the cluster; nil means Helm's built-in defaults.
	Capabilities *config.Capabilities
	// Images are further places of image references, from the configuration.
	Images []config.ImagePath
}

// Output is what rendering gave. It may be used concurrently; YAML must not be
// changed.
type Output struct {
	// YAML is the text as kustomize build or helm template prints it.
	YAML []byte
	// ClusterDependent reports that templates read .Capabilities (or a chart
	// constrains the Kubernetes version).
	ClusterDependent bool

	images    []config.ImagePath
	documents []document
}

// Image is one image reference found in rendered manifests.
type Image struct {
	// Reference as written.
	Reference string
	// Object is Kind/name of the object that holds it.
	Object string
}

// ErrNoObjects: an application rendered to nothing although nothing says that
// it may.
var ErrNoObjects = errors.New("rendered no objects")

// Error says where rendering went wrong.
type Error struct {
	// Application's name.
	Application string
	// File from the repository's root and its line, where known ("" and 0).
	File string
	Line int
	Err  error
}

func (e *Error) Error() string {
	where := ""
	if e.File != "" {
		where = e.File + ": "
		if e.Line > 0 {
			where = fmt.Sprintf("%s:%d: ", e.File, e.Line)
		}
	}
	return fmt.Sprintf("application %s: %s%v", e.Application, where, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Bounds of one render. They are far above what people write and far below
// what would hurt a small sidecar.
const (
	// maxOutput bounds the rendered text.
	maxOutput = 64 << 20
	// maxFile bounds one file of the repository.
	maxFile = 32 << 20
	// maxRead bounds all bytes that one render reads. kustomize reads a file
	// once for each reference to it.
	maxRead = 512 << 20
	// maxNodes bounds the nodes of one YAML file after its aliases are
	// expanded; maxDepth their nesting.
	maxNodes = 4 << 20
	maxDepth = 1000
)

// Render renders one application. Errors are of type *Error. An output without
// objects is ErrNoObjects unless Application.Empty.
//
// When ctx ends, Render returns at once. Neither kustomize nor template
// execution can be interrupted from outside, so the goroutine that runs them
// stays until it next reads a file or calls a bounded or unpredictable template
// function, or until it is done; its result is dropped. Callers bound how many
// renders run at the same time.
func Render(ctx context.Context, in Input) (*Output, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Application: in.Application.Name, Err: context.Cause(ctx)}
	}
	type result struct {
		out *Output
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			// A panic of a library must not take the other applications down.
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("renderer panicked: %v at %s", p, panicSite(debug.Stack()))}
			}
			done <- r
		}()
		r.out, r.err = render(newTree(in.FS, ctx.Err), in)
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, asError(in.Application.Name, r.err)
		}
		return r.out, nil
	case <-ctx.Done():
		return nil, &Error{Application: in.Application.Name, Err: context.Cause(ctx)}
	}
}

func render(t *tree, in Input) (*Output, error) {
	app := in.Application
	var text []byte
	var dependent bool
	var err error
	switch app.Renderer {
	case config.RendererKustomize:
		text, dependent, err = renderKustomize(t, in)
	case config.RendererHelm:
		text, dependent, err = renderHelm(t, in)
	case config.RendererYAML:
		text, err = renderDirectory(t, app.Path)
	default:
		return nil, fmt.Errorf("renderer %q is none of kustomize, helm and yaml", app.Renderer)
	}
	if t.fault != nil {
		// A file that could not be read may have been taken for absent.
		return nil, t.fault
	}
	if err != nil {
		return nil, err
	}
	if len(text) > maxOutput {
		return nil, fmt.Errorf("rendered %d bytes; the limit is %d", len(text), maxOutput)
	}
	out, err := Parse(text, in.Images)
	if err != nil {
		return nil, sourceOf(t, app, text, err)
	}
	if len(out.documents) == 0 && !app.Empty {
		return nil, fmt.Errorf("%s: %w; set \"empty: true\" for the application if that is meant", app.Path, ErrNoObjects)
	}
	out.ClusterDependent = dependent
	return out, nil
}

// Parse makes an output of text that was rendered earlier, so that its images
// can be listed and pinned. Text that Render could not have returned is an
// error that names the line.
func Parse(text []byte, images []config.ImagePath) (*Output, error) {
	documents, err := split(text)
	if err != nil {
		return nil, err
	}
	return &Output{YAML: text, images: images, documents: documents}, nil
}
