//go:build !race

package xmpp

const raced = false
