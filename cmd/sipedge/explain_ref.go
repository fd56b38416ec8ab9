package main

import "errors"

func (c explainCommand) explainRef(s streams) error { return errors.New("not yet") }
