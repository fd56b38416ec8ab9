// Package settings reads the configuration files: strict TOML into the structs
// that the packages declare, each fault with its line and all of them at once.
//
// It knows where the files lie and watches the one that may change. What the
// settings mean is the business of the packages that declare them: edge and
// federation check them, and their faults are listed here beside those of the
// files.
package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

// maxFile is how large a file may be. A million partners are smaller.
const maxFile = 64 << 20

// partnersFile is the name of the list of partners, beside the main file.
const partnersFile = "partners.toml"

// Settings is what the files say.
type Settings struct {
	Edge     edge.Config
	Partners *federation.Partners
	// PartnersPath is where the partners stand, or would.
	PartnersPath string
	// NoPartners: there is no such file, so nobody is a partner but by decision.
	NoPartners bool

	decisions Decisions
	list      list  // what Partners were made of
	stamp     stamp // of the file of partners, before it was read
}

// Decisions returns what administrators have decided beside the file.
type Decisions func() []federation.Decision

// A Decided finds the decisions that go with the main file's settings. It is
// asked before the partners are read; a nil Decided, and nil Decisions, are none.
type Decided func(edge.Config) (Decisions, error)

// A Build makes something of the settings, most likely an edge, and says what is
// wrong with them. It gets nil partners if their file is faulty.
type Build func(edge.Config, *federation.Partners) []error

// Load reads the main file, what was decided and the partners, and gives them to
// build. Its faults are listed with those of the files. With errors, sorted by
// file and line, there are no Settings.
func Load(path string, decided Decided, build Build) (*Settings, []error) {
	s := &Settings{PartnersPath: filepath.Join(filepath.Dir(path), partnersFile)}
	errs, whole := s.loadEdge(path)
	if whole && decided != nil {
		var err error
		if s.decisions, err = decided(s.Edge); err != nil {
			errs = append(errs, allowlists.Problem{File: s.Edge.File, Line: s.Edge.StateDirLine, Text: err.Error()})
		}
	}
	errs = append(errs, s.loadPartners()...)
	if whole {
		errs = append(errs, build(s.Edge, s.Partners)...)
	}
	if len(errs) > 0 {
		sortErrors(errs)
		return nil, errs
	}
	return s, nil
}

// loadEdge reads the main file. If not all of it could be read, what it says
// must not be judged.
func (s *Settings) loadEdge(path string) (errs []error, whole bool) {
	data, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []error{fmt.Errorf("%w; -c names another file", err)}, false
	case err != nil:
		return []error{err}, false
	}
	problems, whole := decode(filepath.Base(path), data, &s.Edge)
	s.Edge.Dir, s.Edge.File = filepath.Dir(path), filepath.Base(path)
	return asErrors(problems), whole
}

// LoadEdge reads the main file alone, for commands that ask a running edge or
// need its certificates. They bear with faults that do not concern them: errors
// are only those of a file that cannot be read at all.
func LoadEdge(path string) (edge.Config, error) {
	var s Settings
	errs, whole := s.loadEdge(path)
	if !whole {
		return edge.Config{}, errors.Join(errs...)
	}
	return s.Edge, nil
}

// loadPartners reads the list of partners, and takes none for an empty one.
func (s *Settings) loadPartners() (errs []error) {
	s.stamp = stampOf(s.PartnersPath)
	var err error
	s.list, err = readList(s.PartnersPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.NoPartners = true
	case err != nil:
		return []error{err}
	}
	s.Partners, errs = s.list.compile(s.Edge.Domains, s.decisions)
	return errs
}

// A list is the octets of partners.toml. They are kept, and not what they mean:
// decoded, 100,000 partners would be many small pieces of memory that the garbage
// collector goes over for ever, for the sake of a decision now and then.
type list struct {
	name string
	data []byte
}

// readList reads the file. The error of one that is not there is fs.ErrNotExist,
// and goes with an empty list.
func readList(path string) (list, error) {
	data, err := readFile(path)
	return list{filepath.Base(path), data}, err
}

// compile makes partners of the list, what was decided and the clock. Own are our
// domains. The errors are sorted by line.
func (l list) compile(own []string, decisions Decisions) (*federation.Partners, []error) {
	file := federation.File{}
	problems, whole := decode(l.name, l.data, &file)
	file.File = l.name
	errs := asErrors(problems)
	if !whole {
		return nil, errs
	}
	with := federation.With{Now: time.Now()}
	if decisions != nil {
		with.Decisions = decisions()
	}
	partners, more := federation.Compile(file, own, with)
	if errs = append(errs, more...); len(errs) > 0 {
		sortErrors(errs)
		return nil, errs
	}
	return partners, nil
}

// readFile reads a regular file of bounded size: not a pipe, which would never
// end.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s: larger than %d MiB", path, maxFile>>20)
	}
	return data, nil
}
