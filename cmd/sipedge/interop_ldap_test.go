package main

import (
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInteropDirectory runs testdata/interop/directory/*.txtar: users outside whose
// groups a real directory knows, OpenLDAP's slapd.
func TestInteropDirectory(t *testing.T) {
	slapd, err := exec.LookPath("slapd")
	if err != nil {
		slapd = "/usr/sbin/slapd" // not everybody's path has it
	}
	needPrograms(t, slapd)
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/interop/directory",
		Setup: func(env *testscript.Env) error {
			// A copy is run: a confined program may not read the play's folder.
			env.Setenv("SLAPD", slapd)
			return openStage(env)
		},
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}
