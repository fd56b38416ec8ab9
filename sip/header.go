package sip

// A Header is the identity of a header field, whatever its spelling. The zero
// Header is every field that the edge has no word for.
type Header uint8

// The headers that framing, routing, the border or an answer touches.
const (
	HeaderOther Header = iota
	Accept
	AcceptContact
	Allow
	AllowEvents
	AuthenticationInfo
	Authorization
	CallID
	Contact
	ContentEncoding
	ContentLength
	ContentType
	CSeq
	Date
	Event
	Expires
	FlowTimer
	From
	HistoryInfo
	Identity
	IdentityInfo
	InReplyTo
	MaxBreadth
	MaxForwards
	MinExpires
	MinSE
	MSAssertedVerificationLevel
	MSClientDiagnostics
	MSDiagnostics
	MSDiagnosticsPublic
	MSEdgeProxyMessageTrust
	MSInternalInfo
	MSKeepAlive
	MSSplitDomainInfo
	MSUserLogonData
	PAssertedIdentity
	PAssertedService
	Path
	PPreferredIdentity
	PPreferredService
	PServedUser
	Privacy
	ProxyAuthenticate
	ProxyAuthenticationInfo
	ProxyAuthorization
	ProxyRequire
	Reason
	RecordRoute
	ReferredBy
	ReferTo
	RejectContact
	RemotePartyID
	Replaces
	RequestDisposition
	Require
	RetryAfter
	Route
	Server
	ServiceRoute
	SessionExpires
	SipedgeBridge
	SIPETag
	SIPIfMatch
	Subject
	SubscriptionState
	Supported
	Timestamp
	To
	Unsupported
	UserAgent
	Via
	Warning
	WWWAuthenticate
	numHeaders
)

// headerNames are the names as the RFCs write them.
var headerNames = [numHeaders]string{
	HeaderOther:                 "",
	Accept:                      "Accept",
	AcceptContact:               "Accept-Contact",
	Allow:                       "Allow",
	AllowEvents:                 "Allow-Events",
	AuthenticationInfo:          "Authentication-Info",
	Authorization:               "Authorization",
	CallID:                      "Call-ID",
	Contact:                     "Contact",
	ContentEncoding:             "Content-Encoding",
	ContentLength:               "Content-Length",
	ContentType:                 "Content-Type",
	CSeq:                        "CSeq",
	Date:                        "Date",
	Event:                       "Event",
	Expires:                     "Expires",
	FlowTimer:                   "Flow-Timer",
	From:                        "From",
	HistoryInfo:                 "History-Info",
	Identity:                    "Identity",
	IdentityInfo:                "Identity-Info",
	InReplyTo:                   "In-Reply-To",
	MaxBreadth:                  "Max-Breadth",
	MaxForwards:                 "Max-Forwards",
	MinExpires:                  "Min-Expires",
	MinSE:                       "Min-SE",
	MSAssertedVerificationLevel: "ms-asserted-verification-level",
	MSClientDiagnostics:         "ms-client-diagnostics",
	MSDiagnostics:               "ms-diagnostics",
	MSDiagnosticsPublic:         "ms-diagnostics-public",
	MSEdgeProxyMessageTrust:     "ms-edge-proxy-message-trust",
	MSInternalInfo:              "ms-internal-info",
	MSKeepAlive:                 "ms-keep-alive",
	MSSplitDomainInfo:           "ms-split-domain-info",
	MSUserLogonData:             "ms-user-logon-data",
	PAssertedIdentity:           "P-Asserted-Identity",
	PAssertedService:            "P-Asserted-Service",
	Path:                        "Path",
	PPreferredIdentity:          "P-Preferred-Identity",
	PPreferredService:           "P-Preferred-Service",
	PServedUser:                 "P-Served-User",
	Privacy:                     "Privacy",
	ProxyAuthenticate:           "Proxy-Authenticate",
	ProxyAuthenticationInfo:     "Proxy-Authentication-Info",
	ProxyAuthorization:          "Proxy-Authorization",
	ProxyRequire:                "Proxy-Require",
	Reason:                      "Reason",
	RecordRoute:                 "Record-Route",
	ReferredBy:                  "Referred-By",
	ReferTo:                     "Refer-To",
	RejectContact:               "Reject-Contact",
	RemotePartyID:               "Remote-Party-ID",
	Replaces:                    "Replaces",
	RequestDisposition:          "Request-Disposition",
	Require:                     "Require",
	RetryAfter:                  "Retry-After",
	Route:                       "Route",
	Server:                      "Server",
	ServiceRoute:                "Service-Route",
	SessionExpires:              "Session-Expires",
	SipedgeBridge:               "Sipedge-Bridge",
	SIPETag:                     "SIP-ETag",
	SIPIfMatch:                  "SIP-If-Match",
	Subject:                     "Subject",
	SubscriptionState:           "Subscription-State",
	Supported:                   "Supported",
	Timestamp:                   "Timestamp",
	To:                          "To",
	Unsupported:                 "Unsupported",
	UserAgent:                   "User-Agent",
	Via:                         "Via",
	Warning:                     "Warning",
	WWWAuthenticate:             "WWW-Authenticate",
}

// String returns the header's long name, "" for HeaderOther.
func (h Header) String() string {
	if h < numHeaders {
		return headerNames[h]
	}
	return ""
}

// Compact returns the one-letter name of the header, 0 if it has none.
func (h Header) Compact() byte {
	for c := byte('a'); c <= 'z'; c++ {
		if h != HeaderOther && compact(c) == h {
			return c
		}
	}
	return 0
}

// HeaderNamed returns the identity of a field name in any spelling, long or
// compact, and HeaderOther for a name without one. The match is exact but for
// ASCII case: a blank, an underscore or a look-alike makes another name.
func HeaderNamed(name []byte) Header {
	switch {
	case len(name) > 1:
		if h := headerSlots[slot(name)]; h != HeaderOther && sameName(name, headerNames[h]) {
			return h
		}
	case len(name) == 1 && isAlpha(name[0]):
		return compact(name[0] | 0x20)
	}
	return HeaderOther
}

// headerSlots holds each header at the slot of its name, so that one comparison
// decides. No two names share a slot; a test says so when one is added.
var headerSlots = slotTable()

func slotTable() (t [256]Header) {
	for h := HeaderOther + 1; h < numHeaders; h++ {
		t[slot([]byte(headerNames[h]))] = h
	}
	return t
}

// slot hashes a name by its length and three of its letters, without case.
func slot(name []byte) uint8 {
	n := len(name)
	return uint8(n)*16 + (name[0] | 0x20) + (name[n/2]|0x20)*3 + (name[n-1] | 0x20)
}

// sameName compares a field name with the name of a known header. Or-ing 0x20
// lowers a letter, but makes hyphens of other octets: those must be equal.
func sameName(name []byte, s string) bool {
	if string(name) == s {
		return true
	}
	if len(name) != len(s) {
		return false
	}
	for i := range len(s) {
		if c := name[i]; c != s[i] && (c|0x20 != s[i]|0x20 || !isAlpha(c)) {
			return false
		}
	}
	return true
}

// compact knows the one-letter names (RFC 3261 §7.3.3 and the registry that
// continues it).
func compact(c byte) Header {
	switch c {
	case 'a':
		return AcceptContact
	case 'b':
		return ReferredBy
	case 'c':
		return ContentType
	case 'd':
		return RequestDisposition
	case 'e':
		return ContentEncoding
	case 'f':
		return From
	case 'i':
		return CallID
	case 'j':
		return RejectContact
	case 'k':
		return Supported
	case 'l':
		return ContentLength
	case 'm':
		return Contact
	case 'n':
		return IdentityInfo
	case 'o':
		return Event
	case 'r':
		return ReferTo
	case 's':
		return Subject
	case 't':
		return To
	case 'u':
		return AllowEvents
	case 'v':
		return Via
	case 'x':
		return SessionExpires
	case 'y':
		return Identity
	}
	return HeaderOther
}
