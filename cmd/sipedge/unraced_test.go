//go:build !race

package main

const racedMemory = 1
