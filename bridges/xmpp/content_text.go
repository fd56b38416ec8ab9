package xmpp

import (
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"golang.org/x/text/language"
)

// errEncrypted is the answer to a message that only the recipient's own client could
// read. What comes with it for others says nothing, and is never shown as if it were the
// message.
var errEncrypted = &stanza.Error{
	Condition: "not-acceptable", Type: "modify",
	Text: "end-to-end encrypted messages cannot pass this gateway",
}

// said returns what a SIP user reads of the message, and in which language. It is ""
// if there is nothing to read. acceptLanguage is the field of that name of his,
// "" if it is not known. notices says that he hears of withdrawn messages.
//
// The quotation that comes with a reply stays: SIP knows no replies.
func (c *content) said(acceptLanguage string, notices bool) (text, lang string) {
	if c.Retracts != "" {
		if notices {
			return "[withdrawn]", ""
		}
		return "", ""
	}
	t := choose(c.Bodies, acceptLanguage, c.Lang)
	text = t.Text
	for _, l := range c.Links {
		if strings.Contains(text, l.URL) {
			continue
		}
		if text != "" {
			text += "\n"
		}
		if l.Description != "" && l.Description != l.URL {
			text += l.Description + ": "
		}
		text += l.URL
	}
	if c.Replaces != "" && text != "" {
		text = "[edited] " + text
	}
	return text, t.Lang
}

// subject returns the subject that goes with it, on one line.
func (c *content) subject(acceptLanguage string) string {
	return strings.Join(strings.Fields(choose(c.Subjects, acceptLanguage, c.Lang).Text), " ")
}

// choose takes the text in a language that somebody accepts, else the one of no
// special language, else the first. own is the language of that.
func choose(texts []body.Text, acceptLanguage, own string) body.Text {
	var best body.Text
	switch len(texts) {
	case 0:
		return best
	case 1:
		best = texts[0]
	default:
		best = texts[preferred(texts, acceptLanguage, own)]
	}
	if best.Lang == "" {
		best.Lang = own
	}
	return best
}

// preferred returns the index of the text to take: that of the language which is
// wanted most, of whatever country.
func preferred(texts []body.Text, acceptLanguage, own string) int {
	unlabelled := 0
	for i, t := range texts {
		if t.Lang == "" {
			unlabelled = i
			break
		}
	}
	if acceptLanguage == "" || len(acceptLanguage) > 256 {
		return unlabelled
	}
	wanted, weights, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil || len(wanted) == 0 {
		return unlabelled
	}
	for i, tag := range wanted {
		if weights[i] == 0 {
			continue
		}
		for j, t := range texts {
			if t.Lang == "" {
				t.Lang = own
			}
			if matches(t.Lang, tag) {
				return j
			}
		}
	}
	return unlabelled
}

// matches reports whether a text's language is one that is wanted, or a kind of it.
func matches(lang string, want language.Tag) bool {
	have, err := language.Parse(lang)
	if err != nil || lang == "" {
		return false
	}
	a, confidence := want.Base()
	b, _ := have.Base()
	return confidence != language.No && a == b
}

// appendTo writes the content into a message. id, type and language are its
// attributes.
func (c *content) appendTo(e *stanza.Element) {
	e.SetAttr("id", c.ID)
	e.SetAttr("type", c.Type)
	e.SetLang(c.Lang)
	for _, s := range c.Subjects {
		e.AddText(stanza.NS, "subject", stanza.Clean(s.Text)).SetLang(s.Lang)
	}
	for _, b := range c.Bodies {
		e.AddText(stanza.NS, "body", stanza.Clean(b.Text)).SetLang(b.Lang)
	}
	if c.Thread != "" {
		e.AddText(stanza.NS, "thread", c.Thread).SetAttr("parent", c.Parent)
	}
	if isChatState(c.State) {
		e.Add(stanza.New(nsChatStates, c.State))
	}
	if c.Replaces != "" {
		e.Add(stanza.New(nsCorrect, "replace", stanza.Attr{Local: "id", Value: c.Replaces}))
	}
	if !c.Sent.IsZero() {
		d := e.Add(stanza.New(nsDelay, "delay"))
		d.SetAttr("from", c.Delayer)
		d.SetAttr("stamp", stanza.Stamp(c.Sent))
	}
	for _, l := range c.Links {
		x := e.Add(stanza.New(nsOOB, "x"))
		x.AddText(nsOOB, "url", l.URL)
		if l.Description != "" {
			x.AddText(nsOOB, "desc", l.Description)
		}
	}
	c.appendReceipts(e)
	for _, h := range hintNames {
		if c.Hints&h.bit != 0 {
			e.Add(stanza.New(nsHints, h.name))
		}
	}
}

func (c *content) appendReceipts(e *stanza.Element) {
	if c.WantsReceipt {
		e.Add(stanza.New(nsReceipts, "request"))
	}
	if c.Markable {
		e.Add(stanza.New(nsMarkers, "markable"))
	}
	if c.Received != "" {
		e.Add(stanza.New(nsReceipts, "received", stanza.Attr{Local: "id", Value: c.Received}))
	}
	if c.Displayed != "" {
		e.Add(stanza.New(nsMarkers, "displayed", stanza.Attr{Local: "id", Value: c.Displayed}))
	}
}
