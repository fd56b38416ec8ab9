package settings

import (
	"cmp"
	"errors"
	"slices"

	"github.com/sipedge/sipedge/allowlists"
)

func sortProblems(problems []allowlists.Problem) {
	slices.SortStableFunc(problems, func(a, b allowlists.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// asErrors returns the problems as errors, in the same order.
func asErrors(problems []allowlists.Problem) []error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errs
}

// sortErrors puts errors in the order of the files: by line where they have one
// (a method Position), at the end where they have none.
func sortErrors(errs []error) {
	slices.SortStableFunc(errs, func(a, b error) int {
		fileA, lineA := position(a)
		fileB, lineB := position(b)
		return cmp.Or(compareEmptyLast(fileA, fileB), cmp.Compare(lineA, lineB))
	})
}

func position(err error) (file string, line int) {
	var at interface{ Position() (string, int) }
	if errors.As(err, &at) {
		return at.Position()
	}
	return "", 0
}

// compareEmptyLast orders sipedge.toml before the lists.
func compareEmptyLast(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	default:
		return -cmp.Compare(a, b)
	}
}
