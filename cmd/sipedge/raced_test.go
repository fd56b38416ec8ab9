//go:build race

package main

// racedMemory: the race detector takes five to ten times the memory of a program.
const racedMemory = 5
