package promotion

import "time"

// Stamp is a moment of a hop; the zero value is one that is not known. Its JSON
// form has milliseconds.
type Stamp struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (s Stamp) MarshalJSON() ([]byte, error) {
	return []byte(s.UTC().Format(`"2006-01-02T15:04:05.000Z07:00"`)), nil
}

// Hop is the way of one snapshot from being healthy in one environment to being
// healthy in the next. Moments that nobody saw are zero. SyncFinished, Synced
// and Healthy are Argo CD's, in whole seconds; the others are the engine's.
type Hop struct {
	Version string `json:"version"`
	From    string `json:"from"`
	To      string `json:"to"`
	// SyncFinished is when the last sync in From ended.
	SyncFinished Stamp `json:"syncFinished,omitzero"`
	// Notified is when Argo CD's newest event before the look came in.
	Notified Stamp `json:"notified,omitzero"`
	// Observed is when the look ended that found the hop due.
	Observed Stamp `json:"observed,omitzero"`
	// Captured is when the snapshot was worked out, Mirrored when its images
	// were in place, Pushed when git had it, Poked when Argo CD was told.
	Captured Stamp `json:"captured,omitzero"`
	Mirrored Stamp `json:"mirrored,omitzero"`
	Pushed   Stamp `json:"pushed,omitzero"`
	Poked    Stamp `json:"poked,omitzero"`
	// Updated is when all Applications of To were seen to point at the snapshot,
	// Synced and Healthy when the last of them was, Recorded when the ledger had
	// the evidence.
	Updated  Stamp `json:"updated,omitzero"`
	Synced   Stamp `json:"synced,omitzero"`
	Healthy  Stamp `json:"healthy,omitzero"`
	Recorded Stamp `json:"recorded,omitzero"`
}

// Segment is a part of a hop: what it ended with, and how long it took since
// the moment before it that is known.
type Segment struct {
	Name     string
	Duration time.Duration
}

// The names of segments that span others.
const (
	// SegmentHandover is from SyncFinished to Updated: what the train adds
	// between Argo CD's work in the one environment and in the next.
	SegmentHandover = "handover"
	// SegmentTotal is from the first known moment to the last.
	SegmentTotal = "total"
)

// moments are a hop's stamps in their order.
func (h *Hop) moments() []struct {
	name string
	at   *Stamp
} {
	return []struct {
		name string
		at   *Stamp
	}{
		{"sync_finished", &h.SyncFinished},
		{"notified", &h.Notified},
		{"observed", &h.Observed},
		{"captured", &h.Captured},
		{"mirrored", &h.Mirrored},
		{"pushed", &h.Pushed},
		{"poked", &h.Poked},
		{"updated", &h.Updated},
		{"synced", &h.Synced},
		{"healthy", &h.Healthy},
		{"recorded", &h.Recorded},
	}
}

// Segments are the parts of a hop that are known. None is negative: the clocks
// of Argo CD and the engine differ, and one counts whole seconds.
func (h Hop) Segments() []Segment {
	var segments []Segment
	var first, last time.Time
	for _, m := range h.moments() {
		switch {
		case m.at.IsZero():
			continue
		case first.IsZero():
			first = m.at.Time
		default:
			segments = append(segments, Segment{m.name, max(0, m.at.Sub(last))})
		}
		last = later(last, m.at.Time)
	}
	if !h.SyncFinished.IsZero() && !h.Updated.IsZero() {
		segments = append(segments, Segment{SegmentHandover, max(0, h.Updated.Sub(h.SyncFinished.Time))})
	}
	if last.After(first) {
		segments = append(segments, Segment{SegmentTotal, last.Sub(first)})
	}
	return segments
}
