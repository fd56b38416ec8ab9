package xmpp

// Namespaces of what the gateway understands or looks for.
const (
	nsCarbons    = "urn:xmpp:carbons:2"                    // XEP-0280
	nsForward    = "urn:xmpp:forward:0"                    // XEP-0297
	nsInvite     = "jabber:x:conference"                   // XEP-0249
	nsMUCUser    = "http://jabber.org/protocol/muc#user"   // XEP-0045
	nsInfo       = "http://jabber.org/protocol/disco#info" // XEP-0030
	nsItems      = "http://jabber.org/protocol/disco#items"
	nsCaps       = "http://jabber.org/protocol/caps" // XEP-0115
	nsPing       = "urn:xmpp:ping"                   // XEP-0199
	nsVersion    = "jabber:iq:version"               // XEP-0092
	nsTime       = "urn:xmpp:time"                   // XEP-0202
	nsGateway    = "jabber:iq:gateway"               // XEP-0100
	nsLast       = "jabber:iq:last"                  // XEP-0012
	nsRegister   = "jabber:iq:register"              // XEP-0077
	nsIdentifier = "urn:xmpp:sid:0"                  // XEP-0359
)
