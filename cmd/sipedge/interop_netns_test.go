package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInteropOfTwoNetworks runs testdata/netns/*.txtar: edges that meet as they
// would on the Internet, each in a network of its own, with public addresses and
// a name server of somebody else's make.
func TestInteropOfTwoNetworks(t *testing.T) {
	needPrograms(t, "ip", "nsd")
	if err := mayMakeNetns(); err != nil {
		if os.Getuid() == 0 && os.Getenv("SIPEDGE_INTEROP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "netns"),
		Setup:              openStage,
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}
