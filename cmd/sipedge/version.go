package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

type versionCommand struct{}

// Run prints what this program was built from.
func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "sipedge", version(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
	return err
}

// A versionFlag is the command as a flag.
type versionFlag bool

// BeforeReset prints the version and ends, whatever else is asked.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if err := (versionCommand{}).Run(streams{app.Stdout, app.Stderr}); err != nil {
		return err
	}
	app.Exit(0)
	return nil
}

// version is the module's version, or the commit that the program was built
// from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += "-" + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return v
}
