//go:build !linux

package main

import "errors"

var errNoNetns = errors.New("network namespaces are Linux's")

func (s *stage) netns([]string) error { return errNoNetns }

func removeNetns([]string) error { return nil }

func inside(ns string, f func() error) error {
	if ns != "" {
		return errNoNetns
	}
	return f()
}

func mayMakeNetns() error { return errNoNetns }
