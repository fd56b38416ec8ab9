package home

import (
	"encoding/xml"
	"errors"
	"fmt"
)

const pidfType = "application/pidf+xml"

// Presence is a presence document (RFC 3863) of one tuple: whether somebody can
// be reached, and a word to it.
type Presence struct {
	Entity string // "pres:bob@example.com"
	Open   bool
	Note   string
}

type pidf struct {
	XMLName xml.Name `xml:"urn:ietf:params:xml:ns:pidf presence"`
	Entity  string   `xml:"entity,attr"`
	Tuples  []tuple  `xml:"tuple"`
	Note    string   `xml:"note,omitempty"`
}

type tuple struct {
	ID    string `xml:"id,attr"`
	Basic string `xml:"status>basic"`
	Note  string `xml:"note,omitempty"`
}

// Document writes p as a PIDF document.
func (p Presence) Document() []byte {
	basic := "closed"
	if p.Open {
		basic = "open"
	}
	doc := pidf{Entity: p.Entity, Tuples: []tuple{{ID: "t1", Basic: basic, Note: p.Note}}}
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // a struct of strings
	}
	return append([]byte(xml.Header), append(b, '\n')...)
}

// ParsePresence reads a PIDF document. Open when one tuple is.
func ParsePresence(doc []byte) (Presence, error) {
	var d pidf
	if err := xml.Unmarshal(doc, &d); err != nil {
		return Presence{}, fmt.Errorf("home: presence document: %w", err)
	}
	if d.Entity == "" {
		return Presence{}, errors.New("home: presence document without entity")
	}
	p := Presence{Entity: d.Entity, Note: d.Note}
	for _, t := range d.Tuples {
		p.Open = p.Open || t.Basic == "open"
		if p.Note == "" {
			p.Note = t.Note
		}
	}
	return p, nil
}
