// Package settings reads the configuration files: strict TOML into the structs
// that the packages declare, each fault with its line and all of them at once.
//
// It knows where the files lie and watches those that may change. What the
// settings mean is the business of the packages that declare them: edge, federation,
// remoteaccess and bridges check them, and their faults are listed here beside those
// of the files.
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
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// maxFile is how large a file may be. A million partners are smaller.
const maxFile = 64 << 20

// The names of the lists, beside the main file.
const (
	partnersFile = "partners.toml"
	remoteFile   = "remote.toml"
	bridgesFile  = "bridges.toml"
)

// BridgeSections are the sections [bridge.NAME] of the main file. What is nil is not
// there, and neither is the bridge.
type BridgeSections struct {
	XMPP *xmpp.Config `toml:"xmpp"`
}

// edgeFile is sipedge.toml: what the edge wants, which knows no foreign network, and
// the bridges.
type edgeFile struct {
	edge.Config

	Bridge BridgeSections `toml:"bridge"`
}

// Settings is what the files say.
type Settings struct {
	Edge     edge.Config
	Bridge   BridgeSections
	Partners *federation.Partners
	// PartnersPath is where the partners stand, or would.
	PartnersPath string
	// NoPartners: there is no such file, so nobody is a partner but by decision.
	NoPartners bool

	Remote *remoteaccess.Access
	// RemotePath is where it stands who may sign in from outside, or would.
	RemotePath string
	// NoRemote: there is no such file, so nobody may but by decision.
	NoRemote bool

	Bridges *bridges.Policy
	// BridgesPath is where it stands who of our users may use bridges, or would.
	BridgesPath string
	// NoBridges: there is no such file, so nobody may but by decision.
	NoBridges bool

	decisions Decisions
	partners  source // what Partners were made of
	remote    source // what Remote was made of
	bridges   source // what Bridges were made of
}

// A source is a list as it was read, and the state of its file before.
type source struct {
	list  list
	stamp stamp
}

// Decisions returns what administrators have decided beside the files; nil ones are
// none.
type Decisions struct {
	Partners func() []federation.Decision
	Remote   func() remoteaccess.With
	Bridges  func() bridges.With
}

// A Decided finds the decisions that go with the main file's settings. It is
// asked before the lists are read; a nil Decided is none.
type Decided func(edge.Config) (Decisions, error)

// A Build makes something of the settings, most likely an edge, and says what is
// wrong with them. What is in a faulty file is nil.
type Build func(*Settings) []error

// Load reads the main file, what was decided and the lists, and gives them to
// build. Its faults are listed with those of the files. With errors, sorted by
// file and line, there are no Settings.
func Load(path string, decided Decided, build Build) (*Settings, []error) {
	dir := filepath.Dir(path)
	s := &Settings{
		PartnersPath: filepath.Join(dir, partnersFile), RemotePath: filepath.Join(dir, remoteFile), BridgesPath: filepath.Join(dir, bridgesFile),
	}
	errs, whole := s.loadEdge(path)
	if whole && decided != nil {
		var err error
		if s.decisions, err = decided(s.Edge); err != nil {
			errs = append(errs, allowlists.Problem{File: s.Edge.File, Line: s.Edge.StateDirLine, Text: err.Error()})
		}
	}
	errs = append(errs, s.loadPartners()...)
	errs = append(errs, s.loadRemote()...)
	errs = append(errs, s.loadBridges()...)
	if whole {
		errs = append(errs, build(s)...)
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
	var file edgeFile
	problems, whole := decode(filepath.Base(path), data, &file)
	s.Edge, s.Bridge = file.Config, file.Bridge
	s.Edge.Dir, s.Edge.File = filepath.Dir(path), filepath.Base(path)
	return asErrors(problems), whole
}

// LoadEdge reads the main file alone, for commands that ask a running edge or
// need its certificates. They bear with faults that do not concern them: errors
// are only those of a file that cannot be read at all.
func LoadEdge(path string) (edge.Config, error) {
	c, _, err := LoadMain(path)
	return c, err
}

// LoadMain is LoadEdge with the sections of bridges.
func LoadMain(path string) (edge.Config, BridgeSections, error) {
	var s Settings
	errs, whole := s.loadEdge(path)
	if !whole {
		return edge.Config{}, BridgeSections{}, errors.Join(errs...)
	}
	return s.Edge, s.Bridge, nil
}

// loadPartners reads the list of partners, and takes none for an empty one.
func (s *Settings) loadPartners() (errs []error) {
	if s.partners, s.NoPartners, errs = readFirst(s.PartnersPath); errs != nil {
		return errs
	}
	s.Partners, errs = s.partners.list.partners(s.Edge.Domains, s.decisions)
	return errs
}

// loadRemote reads who may sign in from outside.
func (s *Settings) loadRemote() (errs []error) {
	if s.remote, s.NoRemote, errs = readFirst(s.RemotePath); errs != nil {
		return errs
	}
	s.Remote, errs = s.remote.list.remote(s.Edge.Domains, s.decisions)
	return errs
}

// loadBridges reads who of our users may use bridges.
func (s *Settings) loadBridges() (errs []error) {
	if s.bridges, s.NoBridges, errs = readFirst(s.BridgesPath); errs != nil {
		return errs
	}
	s.Bridges, errs = s.bridges.list.bridges(s.Edge, s.decisions)
	return errs
}

// readFirst reads a list that there need not be.
func readFirst(path string) (r source, absent bool, errs []error) {
	r.stamp = stampOf(path)
	var err error
	r.list, err = readList(path)
	absent = errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return r, false, []error{err}
	}
	return r, absent, nil
}

// A list is the octets of a file. They are kept, and not what they mean: decoded,
// 100,000 partners would be many small pieces of memory that the garbage
// collector goes over for ever, for the sake of a decision now and then.
type list struct {
	name   string
	data   []byte
	absent bool // there is no such file
}

// readList reads the file. The error of one that is not there is fs.ErrNotExist,
// and goes with an empty list.
func readList(path string) (list, error) {
	data, err := readFile(path)
	return list{filepath.Base(path), data, errors.Is(err, fs.ErrNotExist)}, err
}

// partners makes partners of the list, what was decided and the clock. Own are our
// domains. The errors are sorted by line.
func (l list) partners(own []string, decisions Decisions) (*federation.Partners, []error) {
	file := federation.File{}
	return compile(l, &file, own, func() (*federation.Partners, []error) {
		file.File = l.name
		with := federation.With{Now: time.Now()}
		if decisions.Partners != nil {
			with.Decisions = decisions.Partners()
		}
		return federation.Compile(file, own, with)
	})
}

// remote makes of the list and what was decided who may sign in from outside.
func (l list) remote(own []string, decisions Decisions) (*remoteaccess.Access, []error) {
	file := remoteaccess.File{}
	return compile(l, &file, own, func() (*remoteaccess.Access, []error) {
		file.File, file.Absent = l.name, l.absent
		var with remoteaccess.With
		if decisions.Remote != nil {
			with = decisions.Remote()
		}
		return remoteaccess.Compile(file, own, with)
	})
}

// bridges makes of the list and what was decided who of our users may use bridges.
func (l list) bridges(c edge.Config, decisions Decisions) (*bridges.Policy, []error) {
	file := bridges.File{}
	return compile(l, &file, c.Domains, func() (*bridges.Policy, []error) {
		file.File, file.Absent, file.Dir = l.name, l.absent, c.Dir
		var with bridges.With
		if decisions.Bridges != nil {
			with = decisions.Bridges()
		}
		return bridges.Compile(file, c.Domains, with)
	})
}

// compile decodes a list into file, and makes something of it. What could not be read
// must not be judged; nor must a list without our domains, own: every user in it would
// be somebody else's, while the fault is the main file's, and reported there.
func compile[T any](l list, file any, own []string, build func() (*T, []error)) (*T, []error) {
	problems, whole := decode(l.name, l.data, file)
	errs := asErrors(problems)
	if !whole || len(own) == 0 {
		sortErrors(errs)
		return nil, errs
	}
	made, more := build()
	if errs = append(errs, more...); len(errs) > 0 {
		sortErrors(errs)
		return nil, errs
	}
	return made, nil
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
