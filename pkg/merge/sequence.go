package merge

// sequence is a list of different names, into which more are put behind others.
// All that is asked of it takes the same time however long it is: files come from
// strangers.
type sequence struct {
	first element // stands before all others
	last  *element
	at    map[string]*element
}

// element is one name of a [sequence].
type element struct {
	id   string
	next *element
	// ours is the number of the name in ours; of one that was put behind others,
	// that of the nearest before it; -1 if there is none.
	ours int
}

func newSequence() *sequence {
	s := &sequence{first: element{ours: -1}, at: map[string]*element{}}
	s.last = &s.first
	return s
}

// add puts a name of ours behind all others.
func (s *sequence) add(id string, ours int) {
	s.insert(s.last, id).ours = ours
}

// insert puts a name behind another one.
func (s *sequence) insert(after *element, id string) *element {
	e := &element{id: id, next: after.next, ours: after.ours}
	after.next, s.at[id] = e, e
	if s.last == after {
		s.last = e
	}
	return e
}

// all are the names in order.
func (s *sequence) all(yield func(string) bool) {
	for e := s.first.next; e != nil; e = e.next {
		if !yield(e.id) {
			return
		}
	}
}

// numbers gives the place of each name.
func numbers(names []string) map[string]int {
	at := make(map[string]int, len(names))
	for i, name := range names {
		if _, ok := at[name]; !ok {
			at[name] = i
		}
	}
	return at
}
