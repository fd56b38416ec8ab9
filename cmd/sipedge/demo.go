package main

import "errors"

type demoCommand struct{}

// Run will play two companies that federate.
func (demoCommand) Run() error { return errors.New("the demo is not part of this build") }
