package config

import (
	"fmt"
	"slices"
	"strings"
)

// checkOrder checks that "after" makes a graph with one beginning.
func (r *report) checkOrder(p *Pipeline) {
	index := map[string]int{}
	complete := true // every name is known, so "unknown" can be said for sure
	for i := len(p.Environments) - 1; i >= 0; i-- {
		e := p.Environments[i]
		index[e.Name] = i
		complete = complete && e.Name != ""
	}
	var names []string
	for _, e := range p.Environments {
		names = append(names, e.Name)
	}

	edges := make([][]int, len(p.Environments)) // to the environments before
	for i, e := range p.Environments {
		path := environmentPath(i) + ".after"
		for j, name := range e.After {
			at := fmt.Sprintf("%s[%d]", path, j)
			before, known := index[name]
			switch {
			case name == "":
			case name == e.Name:
				r.add(at, "%s cannot come after itself", clip(name))
			case slices.Contains(e.After[:j], name):
				r.add(at, "%s is listed twice", clip(name))
			case !known && complete:
				r.add(at, "there is no environment %s; %s", quote(name), suggestion(nearest(name, names), names))
			case known:
				edges[i] = append(edges[i], before)
			}
		}
	}
	cyclic := r.checkCycles(p, edges)
	r.checkFirst(p, complete && !cyclic)
}

// checkFirst wants exactly one environment without "after".
func (r *report) checkFirst(p *Pipeline, complete bool) {
	first := ""
	for i := range p.Environments {
		e, path := &p.Environments[i], environmentPath(i)
		switch {
		case r.faulty[path+".after"] || r.faulty[path]:
			complete = false
		case e.Name == "":
			complete = false
		case !e.First():
			// A list of nothing but itself or unknown names is not a beginning.
		case first == "":
			first = e.Name
		default:
			r.add(path, "%s has no after, like %s; exactly one environment is the first, so say after which others %s comes", clip(e.Name), clip(first), clip(e.Name))
		}
	}
	if first == "" && complete && len(p.Environments) > 0 {
		r.add("environments", "every environment has after; the first one, which follows the source branch, must have none")
	}
}

// checkCycles reports circles and says whether there is one. Of circles that
// share an environment it reports one: cutting it may well cut the others.
func (r *report) checkCycles(p *Pipeline, edges [][]int) bool {
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(edges))
	inCircle := map[int]bool{}
	var stack []int
	var visit func(int)
	visit = func(i int) {
		state[i] = open
		stack = append(stack, i)
		for _, before := range edges[i] {
			switch state[before] {
			case unseen:
				visit(before)
			case open:
				circle := slices.Clone(stack[slices.Index(stack, before):])
				if !slices.ContainsFunc(circle, func(i int) bool { return inCircle[i] }) {
					r.addCycle(p, circle)
				}
				for _, i := range circle {
					inCircle[i] = true
				}
			}
		}
		stack = stack[:len(stack)-1]
		state[i] = done
	}
	for i := range edges {
		if state[i] == unseen {
			visit(i)
		}
	}
	return len(inCircle) > 0
}

// addCycle reports a circle, given against the direction of promotion, at the
// environment of it that comes first in the file.
func (r *report) addCycle(p *Pipeline, circle []int) {
	slices.Reverse(circle)
	start := slices.Index(circle, slices.Min(circle))
	var names []string
	for k := range len(circle) + 1 {
		names = append(names, clip(p.Environments[circle[(start+k)%len(circle)]].Name))
	}
	r.add(environmentPath(circle[start])+".after", "environments come after each other in a circle: %s", strings.Join(names, " → "))
}
