package merge

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ends are the lines at which what surrounds a node ends, in ours and theirs.
type ends struct{ ours, theirs int }

// slotOf is the entry that holds a value, on both sides. Nil: the value cannot
// be replaced as a whole, as in a flow collection or at the root.
type slotOf struct{ ours, theirs place }

// node merges a value that all three have and returns the result. at names it.
func (m *yamlMerge) node(at string, parents []*yaml.Node, b, o, t *yaml.Node, e ends, s *slotOf) *yaml.Node {
	switch {
	case equalNodes(t, b):
		if refersWithin(b) != refersWithin(o) || refersWithin(o) && !equalNodes(o, b) {
			m.conflict(at, b, o, t, parents, "anchors, aliases and merge keys are not merged")
		}
		return o
	case equalNodes(o, t):
		return o
	case refers(b), refers(o), refers(t):
		m.conflict(at, b, o, t, parents, "anchors, aliases and merge keys are not merged")
		return o
	}
	untouched := equalNodes(o, b)
	flow := o.Style&yaml.FlowStyle != 0 || t.Style&yaml.FlowStyle != 0
	collection := o.Kind == t.Kind && o.Kind == b.Kind && o.Kind != yaml.ScalarNode
	switch {
	case collection && flow && untouched && s != nil:
		return m.replace(at, parents, b, o, t, s)
	case collection && o.Kind == yaml.MappingNode:
		return m.mapping(at, b, o, t, e, flow)
	case collection && o.Kind == yaml.SequenceNode:
		if out, why := m.list(at, b, o, t, e, flow); why == "" {
			return out
		} else if !untouched {
			m.conflict(at, b, o, t, parents, why)
			return o
		}
		return m.replace(at, parents, b, o, t, s)
	case o.Kind == yaml.ScalarNode && t.Kind == yaml.ScalarNode && b.Kind == yaml.ScalarNode:
		return m.scalar(at, parents, b, o, t, s, untouched)
	case untouched:
		return m.replace(at, parents, b, o, t, s)
	}
	m.conflict(at, b, o, t, parents, "both sides changed it")
	return o
}

// replace takes theirs' value as a whole.
func (m *yamlMerge) replace(at string, parents []*yaml.Node, b, o, t *yaml.Node, s *slotOf) *yaml.Node {
	switch {
	case refersWithin(o), refersWithin(t):
		m.conflict(at, b, o, t, parents, "anchors, aliases and merge keys are not merged")
	case s == nil:
		m.cannot("the value of " + at + " does not stand by itself")
	default:
		m.replaceEntry(s.ours, s.theirs)
	}
	return t
}

func (m *yamlMerge) scalar(at string, parents []*yaml.Node, b, o, t *yaml.Node, s *slotOf, untouched bool) *yaml.Node {
	if !untouched {
		// Texts in a file, such as the files of a ConfigMap.
		if strings.Count(o.Value, "\n") > 0 && b.ShortTag() == o.ShortTag() && b.ShortTag() == t.ShortTag() {
			text := mergeText(b.Value, o.Value, t.Value)
			if len(text.conflicts) == 0 {
				merged := *o
				if merged.Value = text.text; merged.Value != o.Value {
					m.replaceLiteral(at, o, text.text, s)
				}
				return &merged
			}
			m.beside = m.beside || text.text != o.Value
		}
		m.conflict(at, b, o, t, parents, "both sides changed it")
		return o
	}
	from, to, ok := m.ours.scalar(o)
	theirsFrom, theirsTo, theirsOK := m.theirs.scalar(t)
	if !ok || !theirsOK {
		return m.replace(at, parents, b, o, t, s)
	}
	text := m.theirs.lines[t.Line-1][theirsFrom-m.theirs.starts[t.Line-1] : theirsTo-m.theirs.starts[t.Line-1]]
	m.spans = append(m.spans, span{from, to, text})
	return t
}

// mapping merges key by key.
func (m *yamlMerge) mapping(at string, b, o, t *yaml.Node, e ends, flow bool) *yaml.Node {
	inB, inO, inT := index(b), index(o), index(t)
	oPlaces, tPlaces := m.places(o, t, e, flow)
	value := func(n *yaml.Node, in map[string]int, id string) *yaml.Node {
		if i, ok := in[id]; ok {
			return n.Content[2*i+1]
		}
		return nil
	}
	parents := []*yaml.Node{b, o, t}
	merged := *o
	merged.Content = nil
	kept := map[string]int{} // key to number in ours
	for i := 0; i < len(o.Content); i += 2 {
		key, ov := o.Content[i], o.Content[i+1]
		id := scalarID(key)
		name := dot(at, key.Value)
		bv, tv := value(b, inB, id), value(t, inT, id)
		next := ov
		switch {
		case tv != nil && bv != nil:
			inner, s := e, (*slotOf)(nil)
			if oPlaces != nil && tPlaces != nil {
				s = &slotOf{oPlaces[i/2], tPlaces[inT[id]]}
				inner = ends{s.ours.last, s.theirs.last}
			}
			next = m.node(name, parents, bv, ov, tv, inner, s)
		case tv != nil && !equalNodes(ov, tv):
			m.conflict(name, nil, ov, tv, parents, m.did("%s and %s both added it", 1, 2))
		case tv == nil && bv != nil:
			if m.removed(name, bv, ov, parents) {
				if next = nil; oPlaces == nil {
					m.cannot("a key of " + at + " does not stand by itself")
				} else {
					m.removeEntry(oPlaces[i/2])
				}
			}
		}
		if next != nil {
			kept[id] = i / 2
			merged.Content = append(merged.Content, key, next)
		}
	}
	// A new key comes after the nearest key before it, or after the first: the
	// order of keys has no meaning.
	after := -1
	for j := 0; j < len(o.Content) && after < 0; j += 2 {
		if k, ok := kept[scalarID(o.Content[j])]; ok {
			after = k
		}
	}
	for i := 0; i < len(t.Content); i += 2 {
		key, tv := t.Content[i], t.Content[i+1]
		id := scalarID(key)
		if _, ok := inO[id]; ok {
			if k, ok := kept[id]; ok {
				after = k
			}
			continue
		}
		if bv := value(b, inB, id); bv != nil {
			if !equalNodes(bv, tv) {
				m.conflict(dot(at, key.Value), bv, nil, tv, parents, m.did("%s removed it, %s changed it", 1, 2))
			}
			continue
		}
		merged.Content = append(merged.Content, key, tv)
		if refersWithin(tv) || refers(key) {
			m.conflict(dot(at, key.Value), nil, nil, tv, parents, "anchors, aliases and merge keys are not merged")
			continue
		}
		if after < 0 || oPlaces == nil || tPlaces == nil {
			m.cannot("there is no place for a key in " + at)
			continue
		}
		m.insertEntry(oPlaces[after].last, oPlaces[after].offset, tPlaces[i/2])
	}
	return &merged
}

// removed reports whether what theirs removed can go.
func (m *yamlMerge) removed(at string, b, o *yaml.Node, parents []*yaml.Node) bool {
	switch {
	case !equalNodes(b, o):
		m.conflict(at, b, o, nil, parents, m.did("%s removed it, %s changed it", 2, 1))
	case refersWithin(o):
		m.conflict(at, b, o, nil, parents, "anchors, aliases and merge keys are not merged")
	default:
		return true
	}
	return false
}

// places finds the entries of a collection on both sides; nil where they do not
// stand in lines of their own.
func (m *yamlMerge) places(o, t *yaml.Node, e ends, flow bool) (ours, theirs []place) {
	if flow {
		return nil, nil
	}
	ours, okO := m.ours.places(o, e.ours)
	theirs, okT := m.theirs.places(t, e.theirs)
	if !okO || !okT {
		return nil, nil
	}
	return ours, theirs
}

func dot(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// orderless has the lists in which it does not matter which of two new items
// comes first, so both sides may add at the same place.
var orderless = []string{
	"accessModes", "apiGroups", "configMapGenerator", "containers", "env", "hosts", "imagePullSecrets", "images", "ports", "resources",
	"secretGenerator", "tolerations", "verbs", "volumeMounts", "volumes",
}

// list merges lists whose items can be told apart. What it returns instead says
// why they cannot.
func (m *yamlMerge) list(at string, b, o, t *yaml.Node, e ends, flow bool) (out *yaml.Node, why string) {
	key, ids := matchItems(b, o, t)
	if ids[0] == nil {
		return nil, "the items of the list have nothing that tells them apart"
	}
	if !sameOrder(ids[0], ids[2]) || !sameOrder(ids[0], ids[1]) || !sameOrder(ids[1], ids[2]) {
		return nil, "the order of the list was changed"
	}
	l := listMerge{yamlMerge: m, at: at, key: key, b: b, o: o, t: t, ids: ids}
	for i := range ids {
		l.in[i] = numbers(ids[i])
	}
	l.oPlaces, l.tPlaces = m.places(o, t, e, flow)
	merged := *o
	merged.Content = l.run(e)
	return &merged, ""
}

// listMerge merges one list. ids name the items of base, ours and theirs.
type listMerge struct {
	*yamlMerge
	at, key          string
	b, o, t          *yaml.Node
	ids              [3][]string
	in               [3]map[string]int // the numbers of the ids
	oPlaces, tPlaces []place
}

func (l *listMerge) run(e ends) []*yaml.Node {
	parents := []*yaml.Node{l.b, l.o, l.t}
	order := newSequence() // of the result
	result := map[string]*yaml.Node{}
	for i, id := range l.ids[1] {
		if next := l.item(i, id, parents, e); next != nil {
			order.add(id, i)
			result[id] = next
		}
	}
	near := &order.first // the nearest item before it that the result has
	var taken *element   // behind which both sides have added something
	for i, id := range l.ids[2] {
		if _, ok := l.in[1][id]; ok {
			if e := order.at[id]; e != nil {
				near = e
			}
			continue
		}
		t, name := l.t.Content[i], l.name(id)
		if bi, ok := l.in[0][id]; ok {
			if !equalNodes(l.b.Content[bi], t) {
				l.conflict(name, l.b.Content[bi], nil, t, parents, l.did("%s removed it, %s changed it", 1, 2))
			}
			continue
		}
		if refersWithin(t) {
			l.conflict(name, nil, nil, t, parents, "anchors, aliases and merge keys are not merged")
			continue
		}
		after, ok := near, false
		if near != taken {
			after, ok = l.position(near)
		}
		if !ok {
			taken = near
			l.conflict(name, nil, nil, t, parents, l.did("%s and %s added to the list at the same place, and its order may matter", 1, 2))
			continue
		}
		l.insert(after, i)
		near = order.insert(after, id)
		result[id] = t
	}
	var out []*yaml.Node
	for id := range order.all {
		out = append(out, result[id])
	}
	return out
}

// item merges one that ours has. Nil: it goes.
func (l *listMerge) item(i int, id string, parents []*yaml.Node, e ends) *yaml.Node {
	o, name := l.o.Content[i], l.name(id)
	bi, inBase := l.in[0][id]
	ti, inTheirs := l.in[2][id]
	switch {
	case inBase && inTheirs:
		inner, s := e, (*slotOf)(nil)
		if l.oPlaces != nil && l.tPlaces != nil {
			s = &slotOf{l.oPlaces[i], l.tPlaces[ti]}
			inner = ends{s.ours.last, s.theirs.last}
		}
		return l.node(name, parents, l.b.Content[bi], o, l.t.Content[ti], inner, s)
	case inTheirs && !equalNodes(o, l.t.Content[ti]):
		l.conflict(name, nil, o, l.t.Content[ti], parents, l.did("%s and %s both added it", 1, 2))
	case !inTheirs && inBase:
		if !l.removed(name, l.b.Content[bi], o, parents) {
			return o
		}
		if l.oPlaces == nil {
			l.cannot("the items of " + l.at + " do not stand in lines of their own")
		} else {
			l.removeEntry(l.oPlaces[i])
		}
		return nil
	}
	return o
}

// position returns behind which one of the result a new item of theirs belongs:
// the nearest item before it that is there, and what ours added behind that.
func (l *listMerge) position(near *element) (*element, bool) {
	after := near
	for after.next != nil && l.oursOnly(after.next.id) {
		after = after.next
	}
	if after == near {
		return after, true
	}
	// Both added here. That is two things if the list has no order, and if
	// neither added one in place of another.
	last := l.at[strings.LastIndexByte(l.at, '.')+1:]
	return after, slices.Contains(orderless, last) && !l.removedAny()
}

func (l *listMerge) oursOnly(id string) bool {
	_, inBase := l.in[0][id]
	_, inTheirs := l.in[2][id]
	return !inBase && !inTheirs
}

// removedAny reports whether a side has fewer of the base's items.
func (l *listMerge) removedAny() bool {
	return slices.ContainsFunc(l.ids[0], func(id string) bool {
		_, inOurs := l.in[1][id]
		_, inTheirs := l.in[2][id]
		return !inOurs || !inTheirs
	})
}

// insert puts an item of theirs into the text, behind one of the result.
func (l *listMerge) insert(after *element, item int) {
	if l.oPlaces == nil || l.tPlaces == nil {
		l.cannot("the items of " + l.at + " do not stand in lines of their own")
		return
	}
	// An item just added has no place yet: the next goes behind it, at the same
	// place.
	if after.ours >= 0 {
		l.insertEntry(l.oPlaces[after.ours].last, l.oPlaces[after.ours].offset, l.tPlaces[item])
		return
	}
	first := l.oPlaces[0]
	if !l.ours.alone(first) {
		l.cannot("there is no place for an item in " + l.at)
		return
	}
	l.insertEntry(first.first, first.offset, l.tPlaces[item])
}

func (l *listMerge) name(id string) string {
	_, value, _ := strings.Cut(id, " ")
	if l.key == "" {
		return fmt.Sprintf("%s[%s]", l.at, clip(value))
	}
	return fmt.Sprintf("%s[%s=%s]", l.at, l.key, clip(value))
}

// itemKeys tell the items of a list of mappings apart, the first that all have,
// with different values.
var itemKeys = []string{"name", "containerPort", "port", "mountPath", "key", "ip", "host", "path", "image", "id"}

// matchItems names the items of three lists: by one key of mappings, or scalars
// by themselves. Nil: neither works.
func matchItems(lists ...*yaml.Node) (key string, ids [3][]string) {
	try := func(id func(*yaml.Node) (string, bool)) bool {
		ids = [3][]string{{}, {}, {}}
		for i, list := range lists {
			seen := map[string]bool{}
			for _, item := range list.Content {
				s, ok := id(item)
				if !ok || seen[s] {
					return false
				}
				seen[s] = true
				ids[i] = append(ids[i], s)
			}
		}
		return true
	}
	plain := func(n *yaml.Node) (string, bool) {
		if n == nil || n.Kind != yaml.ScalarNode || n.Anchor != "" {
			return "", false
		}
		return scalarID(n), true
	}
	if try(plain) {
		return "", ids
	}
	for _, key := range itemKeys {
		if try(func(n *yaml.Node) (string, bool) { return plain(child(n, key)) }) {
			return key, ids
		}
	}
	return "", [3][]string{}
}

// sameOrder reports whether what two lists have in common is in the same order.
func sameOrder(a, b []string) bool {
	last, in := -1, numbers(b)
	for _, id := range a {
		if i, ok := in[id]; ok {
			if i < last {
				return false
			}
			last = i
		}
	}
	return true
}
