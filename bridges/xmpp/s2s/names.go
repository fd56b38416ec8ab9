package s2s

import "github.com/sipedge/sipedge/bridges/xmpp/stanza"

// Namespaces of what is not a stanza.
const (
	nsTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsErrors   = "urn:ietf:params:xml:ns:xmpp-streams" // of stream errors
	nsManage   = "urn:xmpp:sm:3"                       // XEP-0198
	nsBidi     = "urn:xmpp:bidi"                       // XEP-0288
	nsCanBidi  = "urn:xmpp:features:bidi"
	nsCanCheck = "urn:xmpp:features:dialback" // XEP-0220 §2.4.2
	nsLimits   = "urn:xmpp:stream-limits:0"   // XEP-0478
)

// attr makes an attribute without namespace.
func attr(name, value string) stanza.Attr { return stanza.Attr{Local: name, Value: value} }
