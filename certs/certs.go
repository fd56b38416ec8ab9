// Package certs holds our certificates, makes both sides' TLS settings, and
// reads what a peer's certificate proves (RFC 5922 §7).
//
// Go's own check of client certificates refuses those without the client
// usage, which public authorities no longer issue. So TLS is told to verify
// nothing, and a [Verifier] does it all in VerifyConnection, which also runs
// on resumed sessions: chain, validity, usage, revocation, names. What it
// finds is an [Identity], and a refusal is a [VerifyError] that names its
// [Problem].
//
// The package does not decide who may talk: it says who is there. It asks no
// OCSP responder and fetches no revocation list; it reads one from a file. It
// keeps no list of names: [Identity] is compared with what the caller expects.
package certs
