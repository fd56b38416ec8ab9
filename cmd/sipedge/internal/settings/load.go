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
	// NoPartners: there is no such file, so nobody is a partner.
	NoPartners bool

	stamp stamp // of the file of partners, before it was read
}

// A Build makes something of the settings, most likely an edge, and says what is
// wrong with them. It gets nil partners if their file is faulty.
type Build func(edge.Config, *federation.Partners) []error

// Load reads the main file and what lies beside it, and gives them to build. Its
// faults are listed with those of the files. With errors, sorted by file and
// line, there are no Settings.
func Load(path string, build Build) (*Settings, []error) {
	s := &Settings{PartnersPath: filepath.Join(filepath.Dir(path), partnersFile)}
	errs, whole := s.loadEdge(path)
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

// loadPartners reads the list of partners, and takes none for an empty one.
func (s *Settings) loadPartners() (errs []error) {
	s.stamp = stampOf(s.PartnersPath)
	s.Partners, errs = LoadPartners(s.PartnersPath, s.Edge.Domains)
	if len(errs) == 1 && errors.Is(errs[0], fs.ErrNotExist) {
		s.NoPartners = true
		s.Partners, errs = federation.Compile(federation.File{File: partnersFile}, s.Edge.Domains, federation.With{Now: time.Now()})
	}
	return errs
}

// LoadPartners reads the list of partners; own are our domains. The error of a
// file that is not there is fs.ErrNotExist.
func LoadPartners(path string, own []string) (*federation.Partners, []error) {
	data, err := readFile(path)
	if err != nil {
		return nil, []error{err}
	}
	file := federation.File{}
	problems, whole := decode(filepath.Base(path), data, &file)
	file.File = filepath.Base(path)
	errs := asErrors(problems)
	if !whole {
		return nil, errs
	}
	partners, more := federation.Compile(file, own, federation.With{Now: time.Now()})
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
