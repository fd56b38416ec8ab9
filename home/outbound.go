package home

import (
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Bounds of one Path: who adds to it is the edge, but it carries what outsiders
// sent.
const (
	maxPath       = 4    // values
	maxPathOctets = 2048 // all of them
)

// A registration is what a REGISTER asks for.
type registration struct {
	all      bool      // Contact: *, all of the user's bindings are to go
	contacts []contact // what comes, and what goes by itself
	path     []string  // how the edge is to be asked (RFC 3327), each as it came
	outbound bool      // a contact is bound by instance and reg-id (RFC 5626 §6)
}

// A contact is one place that comes (life > 0) or goes.
type contact struct {
	uri      sip.Uri
	params   sip.HeaderParams // without expires
	instance string           // +sip.instance, with its quotes; "" if there is none
	key      string           // instance and reg-id; "": the URI is the key
	life     time.Duration
}

// replaces reports whether the contact takes the place of a binding. One with
// a reg-id takes that of its own flow, whatever address that had
// (RFC 5626 §6).
func (c contact) replaces(b binding) bool {
	if c.key != "" || b.key != "" {
		return c.key == b.key
	}
	return sameContact(b.contact, c.uri)
}

// unknownExtensions lists what a REGISTER requires and we do not have
// (RFC 3261 §10.3 step 2).
func unknownExtensions(req *sip.Request) string {
	return strings.Join(slices.DeleteFunc(options(req, "Require", ""), func(tag string) bool {
		return slices.Contains([]string{"path", "outbound", "gruu"}, tag)
	}), ", ")
}

// options returns the option tags in a header, lower case.
func options(m sip.Message, long, compact string) (tags []string) {
	for _, name := range []string{long, compact} {
		if name == "" {
			continue
		}
		for _, h := range m.GetHeaders(name) {
			for tag := range strings.SplitSeq(h.Value(), ",") {
				if tag = strings.ToLower(strings.TrimSpace(tag)); tag != "" {
					tags = append(tags, tag)
				}
			}
		}
	}
	return tags
}

func supports(m sip.Message, tag string) bool {
	return slices.Contains(options(m, "Supported", "k"), tag)
}

// readRegistration reads what a REGISTER wants, and whether it can have it.
func readRegistration(f *flow, req *sip.Request) (reg registration, err *fault) {
	if f.edge { // a Path from inside is nobody's: users there have no proxy before us
		if reg.path, err = readPath(req); err != nil {
			return reg, err
		}
	}
	list := req.GetHeaders("Contact")
	for _, h := range list {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			return reg, &fault{400, "Bad Contact"}
		}
		life, ok := lifetime(req, c)
		switch {
		case !ok:
			return reg, &fault{400, "Bad Expires"}
		case c.Address.Wildcard && (life != 0 || len(list) > 1): // RFC 3261 §10.2.2
			return reg, &fault{400, "Bad Contact"}
		case c.Address.Wildcard:
			reg.all = true
			return reg, nil
		case f.edge && len(reg.path) == 0 && life > 0:
			return reg, &fault{421, "Extension Required"} // there would be no way back
		}
		if err := reg.add(f, req, c, life); err != nil {
			return reg, err
		}
	}
	return reg, reg.oneFlow()
}

// add is RFC 5626 §6: which contacts are bound by instance and reg-id. Users
// inside are on a connection with us, so there we are the first hop.
func (reg *registration) add(f *flow, req *sip.Request, h *sip.ContactHeader, life time.Duration) *fault {
	c := contact{uri: *h.Address.Clone(), life: life}
	for _, kv := range h.Params {
		if !strings.EqualFold(kv.K, "expires") {
			c.params = append(c.params, kv)
		}
	}
	c.instance, _ = param(h.Params, "+sip.instance")
	id, asked := param(h.Params, "reg-id")
	if asked && id != "" && c.instance != "" {
		firstHop := !f.edge || len(reg.path) > 0 && hasParam(reg.path[0], "ob")
		switch {
		case firstHop:
			c.key = strings.ToLower(c.instance) + " " + id
			reg.outbound = true
		case life > 0 && supports(req, "outbound"):
			return &fault{439, "First Hop Lacks Outbound Support"}
		}
	}
	reg.contacts = append(reg.contacts, c)
	return nil
}

// oneFlow refuses a registration of one flow that brings more than one contact
// (RFC 5626 §6).
func (reg *registration) oneFlow() *fault {
	come := 0
	for _, c := range reg.contacts {
		if c.life > 0 {
			come++
		}
	}
	if reg.outbound && come > 1 {
		return &fault{400, "One Contact For One Flow"}
	}
	return nil
}

// param finds a parameter by its name, which has no case (RFC 3261 §7.3.1).
func param(params sip.HeaderParams, name string) (string, bool) {
	for _, kv := range params {
		if strings.EqualFold(strings.TrimSpace(kv.K), name) {
			return strings.TrimSpace(kv.V), true
		}
	}
	return "", false
}

// readPath reads the Path values, each as it is written: the edge signs what is
// in them, so they are not to be spelt anew (RFC 3327 §5.3). We take them also
// from a user agent that does not say Supported: path. The RFC recommends 420,
// so that the user may notice a proxy that has no business there, and allows
// this; our edge has shown its certificate.
func readPath(req *sip.Request) (path []string, err *fault) {
	octets := 0
	for _, h := range req.GetHeaders("Path") {
		for _, value := range splitValues(h.Value()) {
			u, ok := pathURI(value)
			octets += len(value)
			if !ok || !isSIP(u) || u.Host == "" || octets > maxPathOctets || len(path) == maxPath {
				return nil, &fault{400, "Bad Path"}
			}
			if _, loose := param(u.UriParams, "lr"); !loose { // RFC 3327 §4
				return nil, &fault{400, "Path Without lr"}
			}
			path = append(path, value)
		}
	}
	return path, nil
}

func pathURI(value string) (u sip.Uri, ok bool) {
	if !strings.HasPrefix(value, "<") {
		return u, false
	}
	_, err := sip.ParseAddressValue(value, &u, nil)
	return u, err == nil
}

func hasParam(value, name string) bool {
	u, _ := pathURI(value)
	_, has := param(u.UriParams, name)
	return has
}

// splitValues splits a header at the commas between its values.
func splitValues(text string) (values []string) {
	var quoted, bracketed bool
	begin := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' && !bracketed:
			quoted = !quoted
		case c == '<' && !quoted:
			bracketed = true
		case c == '>' && !quoted:
			bracketed = false
		case c == ',' && !quoted && !bracketed:
			values = append(values, strings.TrimSpace(text[begin:i]))
			begin = i + 1
		}
	}
	return append(values, strings.TrimSpace(text[begin:]))
}

// granted are the headers of the 200: all that the user has now
// (RFC 3261 §10.3 step 8), the Path back to who knows what that is
// (RFC 3327 §5.3), and whether the rules of RFC 5626 §6 were used.
func (s *Server) granted(user string, req *sip.Request, reg registration) []sip.Header {
	gruus := ""
	if supports(req, "gruu") {
		gruus = s.cfg.Domain
	}
	list := s.registrar.contacts(user, gruus)
	if supports(req, "path") {
		for _, value := range reg.path {
			list = append(list, sip.NewHeader("Path", value))
		}
	}
	if reg.outbound && supports(req, "outbound") {
		list = append(list, sip.NewHeader("Require", "outbound"))
	}
	return append(list, sip.NewHeader("Supported", "path, outbound, gruu"))
}

// gruu is the public GRUU of an instance (RFC 5627 §5.2), "" for an instance
// that cannot stand in a URI as it is.
func gruu(user, domain, instance string) string {
	urn, ok := urnOf(instance)
	if !ok || domain == "" {
		return ""
	}
	return `"sip:` + user + "@" + domain + ";gr=" + urn + `"`
}

func urnOf(instance string) (string, bool) {
	urn, opens := strings.CutPrefix(instance, `"<`)
	urn, closes := strings.CutSuffix(urn, `>"`)
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == ':' || r == '-' || r == '.'
	}
	return urn, opens && closes && strings.HasPrefix(urn, "urn:") && !strings.ContainsFunc(urn, func(r rune) bool { return !plain(r) })
}
