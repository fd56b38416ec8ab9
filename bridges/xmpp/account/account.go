// Package account is one user's own account on a public XMPP server: a client
// session that the edge holds for him, and the client by which a probe looks at us
// from outside. It is the one adapter around xmppo/go-xmpp.
package account
