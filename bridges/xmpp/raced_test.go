//go:build race

package xmpp

// raced: the race detector makes all some ten times slower.
const raced = true
