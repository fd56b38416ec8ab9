package pidf

import (
	"strconv"
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// isMicrosoft reports whether a media type is one of the Microsoft dialect's
// presence documents.
//
// COMPAT(Microsoft): its presence servers may send them though the SUBSCRIBE asks
// for PIDF.
func isMicrosoft(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd-microsoft-") ||
		strings.HasPrefix(mediaType, "application/msrtc-") || strings.HasPrefix(mediaType, "text/xml+msrtc.")
}

// parseMicrosoft reads the availability and the note of such a document: a number,
// for the person as a whole. There is one tuple, of no resource; none if the
// document says nothing about availability.
func parseMicrosoft(body []byte, lang string) ([]Tuple, error) {
	root, err := stanza.Parse(body, pidfLimits)
	if err != nil {
		return nil, err
	}
	m := microsoft{Tuple: Tuple{Lang: tag(lang)}, availability: -1}
	m.read(root, false)
	if m.availability < 0 {
		return nil, nil
	}
	m.Open, m.Show = availabilityOf(m.availability)
	return []Tuple{m.Tuple}, nil
}

type microsoft struct {
	Tuple
	availability int
	aggregate    bool // availability is that of all devices together
}

// read walks the tree: what is around <availability> and <note> differs between
// versions. The state of a person is aggregated from devices, calendar and
// choice; only the aggregated one counts where there is one.
func (m *microsoft) read(e *stanza.Element, aggregate bool) {
	aggregate = aggregate || strings.HasPrefix(e.Attr("type"), "aggregate")
	for _, c := range e.Children {
		switch c.Local {
		case "availability":
			number := c.Text
			if v := c.Attr("aggregate"); v != "" {
				// Live Communications Server counted in hundreds, from 300 on.
				number, aggregate = v+"0", true
			}
			n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
			if err == nil && (m.availability < 0 || aggregate && !m.aggregate) {
				m.availability, m.aggregate = int(n), aggregate
			}
		case "body":
			if e.Local == "note" {
				m.addNote(c.Lang(), c.Text)
			}
		default:
			m.read(c, aggregate)
		}
	}
}

// availabilityOf is what the dialect's number says. The numbers are steps: what
// lies between is a finer shade of the step below, such as "inactive" at 4500 and
// 7500.
func availabilityOf(n int) (open bool, show string) {
	switch {
	case n < 3000 || n >= 18000: // below is not defined: nothing is known
		return false, ""
	case n < 4500:
		return true, ""
	case n < 6000:
		return true, "away"
	case n < 12000:
		return true, "dnd"
	}
	return true, "away"
}
