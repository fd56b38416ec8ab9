package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/allowlists"
)

// is reports whether the part has a media type; any of its kind if sub is "".
func (p *part) is(kind, sub string) bool {
	k, s, _, ok := mediaType(p.ctype)
	return ok && bytes.EqualFold(k, []byte(kind)) && (sub == "" || bytes.EqualFold(s, []byte(sub)))
}

// sessionPart judges a part of what makes or changes a session.
func (s *survey) sessionPart(p *part) allowlists.Kinds {
	switch {
	case p.is("application", "sdp"):
		s.described = true
		if p.coded {
			return allowlists.KindOther
		}
		return describedKinds(p.body)
	case p.is("application", "ms-filetransfer+xml"):
		return allowlists.KindFiles
	case p.is("application", "pkcs7-mime"), p.is("message", ""):
		// Sealed, or a message within the message (RFC 3261 §23.4): what is in
		// there we do not read, but the endpoint will.
		return allowlists.KindOther
	}
	return 0 // a list of recipients, an ISUP message, a picture of who calls
}

// fileTransfer is the application that old clients of the Microsoft dialect
// invite to when they send a file.
const fileTransfer = "{5d3e02ab-6190-11d3-bbbb-00c04f795683}"

// messagePart judges a part of a MESSAGE.
func (s *survey) messagePart(p *part) allowlists.Kinds {
	switch {
	case p.is("text", "x-msmsgsinvite"):
		if p.coded {
			return allowlists.KindOther
		}
		return invitationKinds(p.body)
	case p.is("application", "vnd.gsma.rcs-ft-http+xml"):
		return allowlists.KindFiles // a link to the file, fetched by the client itself
	case p.is("application", "pkcs7-mime"):
		return allowlists.KindIM | allowlists.KindOther
	case p.is("message", "cpim"):
		return s.wrapped(p)
	}
	return allowlists.KindIM
}

// wrapped judges the message in a wrapper (RFC 3862 §2): headers of its own, an
// empty line, and then a part as in MIME.
func (s *survey) wrapped(p *part) allowlists.Kinds {
	b := p.body
	if p.coded {
		return allowlists.KindIM | allowlists.KindOther
	}
	for len(b) > 0 {
		line, rest, ok := cutField(b)
		if !ok {
			return allowlists.KindIM | allowlists.KindOther
		}
		b = rest
		if len(line) == 0 {
			break
		}
	}
	inner := readPart(b)
	return s.kinds(&inner, maxDepth) // what is wrapped is not wrapped again
}

// invitationKinds judges a text/x-msmsgsinvite. One that names no application
// goes on with an invitation before: accepted, refused, taken back.
func invitationKinds(b []byte) allowlists.Kinds {
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		name, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(bytes.Trim(name, " \t"), []byte("Application-GUID")) {
			continue
		}
		if !bytes.EqualFold(bytes.Trim(value, " \t"), []byte(fileTransfer)) {
			return allowlists.KindOther // a whiteboard, a game, remote assistance
		}
	}
	return allowlists.KindFiles
}

// cutLine cuts the first line off b. CR, LF and both together end one: a
// reader that knows fewer ends sees nothing more than we do.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexAny(b, "\r\n")
	if i < 0 {
		return bytes.Trim(b, " \t"), nil
	}
	return bytes.Trim(b[:i], " \t"), b[i+1:]
}

// A section is one media description of a session (RFC 8866 §5.14), or what
// stands before all of them.
type section struct {
	kind allowlists.Kinds
	off  bool // port 0: not used (RFC 3264 §5.1)
	file bool // it selects files
}

// describedKinds judges a session description: the union of what its media are.
func describedKinds(b []byte) (k allowlists.Kinds) {
	if len(b) > maxDescribe {
		return allowlists.KindOther
	}
	var at section
	whole := false // a selector of files before all media
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		if hasControl(line) {
			return k | allowlists.KindOther
		}
		letter, value := cutType(line)
		switch {
		case letter == 'm':
			whole = whole || at.kind == 0 && at.file
			k |= at.kinds()
			at = readMedia(value)
			at.file = whole
		case letter == 'a' && named(value, "bundle-only"):
			at.off = false // RFC 8843 §6: port 0, and used all the same
		case letter == 'a' && named(value, "file-selector"):
			at.file = true
		}
	}
	return k | at.kinds()
}

// kinds are those of a section that is used. One of messages with a selector
// of files transfers them (RFC 5547 §6).
func (s section) kinds() allowlists.Kinds {
	switch {
	case s.off:
		return 0
	case s.file && s.kind == allowlists.KindIM:
		return allowlists.KindFiles
	}
	return s.kind
}

func hasControl(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// cutType reads "m=": also with blanks and in capitals, since a reader more
// lenient than the grammar might.
func cutType(line []byte) (letter byte, value []byte) {
	name, value, ok := bytes.Cut(line, []byte("="))
	if name = bytes.TrimRight(name, " \t"); !ok || len(name) != 1 {
		return 0, nil
	}
	return name[0] | 0x20, bytes.TrimLeft(value, " \t")
}

// named reports whether an attribute has a name.
func named(attribute []byte, name string) bool {
	attribute, _, _ = bytes.Cut(attribute, []byte(":"))
	return bytes.EqualFold(bytes.TrimRight(attribute, " \t"), []byte(name))
}

// readMedia reads "audio 49170 RTP/AVP 0".
func readMedia(value []byte) section {
	media, rest := cutWord(value)
	port, rest := cutWord(rest)
	proto, _ := cutWord(rest)
	port, _, _ = bytes.Cut(port, []byte("/"))
	return section{
		kind: mediaKind(media, proto),
		off:  len(port) > 0 && len(bytes.Trim(port, "0")) == 0,
	}
}

func cutWord(b []byte) (word, rest []byte) {
	i := bytes.IndexAny(b, " \t")
	if i < 0 {
		return b, nil
	}
	return b[:i], bytes.TrimLeft(b[i:], " \t")
}

// mediaKind is what people call a medium. Never the empty set.
func mediaKind(media, proto []byte) allowlists.Kinds {
	var room [32]byte
	switch string(lower(room[:0], media)) {
	case "audio", "video", "image", "text", "applicationsharing":
		return allowlists.KindCalls // image is fax (T.38), text is typed in a call (RFC 4103)
	case "application":
		// The floor of a conference and the like; but a data channel carries
		// whatever its programs like.
		if indexFold(proto, "bfcp") >= 0 || indexFold(proto, "rtp") >= 0 {
			return allowlists.KindCalls
		}
	case "message", "x-ms-message":
		return allowlists.KindIM
	case "data", "x-filetransfer":
		return allowlists.KindFiles // of the Microsoft dialect
	}
	return allowlists.KindOther
}

// indexFold is the offset of a lower-case word in b, whatever its case, or -1.
func indexFold(b []byte, word string) int {
	for i := 0; i+len(word) <= len(b); i++ {
		if b[i]|0x20 == word[0] && bytes.EqualFold(b[i:i+len(word)], []byte(word)) {
			return i
		}
	}
	return -1
}
