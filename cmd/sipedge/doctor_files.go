package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/remoteaccess"
)

// An account is who runs the edge, as far as files look at him.
type account struct {
	name string
	uid  uint32
	gids []uint32
}

// others is somebody who owns nothing.
var others = account{name: "others", uid: 1<<32 - 1}

// accountNamed finds an account by its name or number.
func accountNamed(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return account{}, fmt.Errorf("there is no user %s", plain(name))
		}
	}
	return accountOf(u), nil
}

// accountNumbered finds an account by its number; one without a name is one
// too.
func accountNumbered(uid uint32) account {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return accountOf(u)
	}
	return account{name: fmt.Sprint("number ", uid), uid: uid}
}

func accountOf(u *user.User) account {
	a := account{name: u.Username}
	if n, err := strconv.ParseUint(u.Uid, 10, 32); err == nil {
		a.uid = uint32(n)
	}
	ids, _ := u.GroupIds() // without them the user is judged by what all may do
	for _, id := range append(ids, u.Gid) {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.gids = append(a.gids, uint32(n))
		}
	}
	return a
}

// What an account may want of a file or folder.
const (
	toRead  fs.FileMode = 4
	toWrite fs.FileMode = 2
	toEnter fs.FileMode = 1
)

// may reports whether the mode of a file lets the account do what it wants.
// Access control lists are not looked at.
func (a account) may(info fs.FileInfo, want fs.FileMode) bool {
	mode := info.Mode().Perm()
	owner, group := ownerOf(info)
	switch {
	case a.uid == 0:
		return true
	case owner == a.uid:
		return mode>>6&want == want
	case slices.Contains(a.gids, group):
		return mode>>3&want == want
	}
	return mode&want == want
}

func ownerOf(info fs.FileInfo) (uid, gid uint32) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid, s.Gid
	}
	return 0, 0
}

// locked returns the first folder on the way to path that the account cannot
// enter, or "". A link has two ways: to itself, and to what it leads to.
func (a account) locked(path string) string {
	ways := []string{path}
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		ways = append(ways, real)
	}
	for _, way := range ways {
		for _, folder := range foldersOf(way) {
			if info, err := os.Stat(folder); err == nil && !a.may(info, toEnter) {
				return folder
			}
		}
	}
	return ""
}

// foldersOf are the folders above a path, the root first.
func foldersOf(path string) (list []string) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		list = append(list, dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	slices.Reverse(list)
	return list
}

// mode is how a file is protected: "0640 root:ssl-cert".
func mode(info fs.FileInfo) string {
	uid, gid := ownerOf(info)
	group := fmt.Sprint(gid)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	name := strings.TrimPrefix(accountNumbered(uid).name, "number ")
	return fmt.Sprintf("%04o %s:%s", info.Mode().Perm(), name, group)
}

// A file is one that the edge reads.
type file struct {
	path   string
	what   string // in words
	secret bool   // nobody else may read it
	absent string // what it means that it is not there; "": a failure
}

// filesOf are the files that an edge reads, each once.
func filesOf(config string, c edge.Config, l remoteaccess.LDAPConfig) (list []file) {
	seen := make(map[string]bool)
	add := func(f file) {
		if !seen[f.path] {
			seen[f.path] = true
			list = append(list, f)
		}
	}
	named := func(path, what string, secret bool) {
		if path != "" && path != certs.SystemRoots {
			add(file{path: beside(c.Dir, path), what: what, secret: secret})
		}
	}
	add(file{path: config, what: "configuration"})
	add(file{path: filepath.Join(c.Dir, "partners.toml"), what: "partners", absent: "not there, so nobody is a partner"})
	add(file{path: filepath.Join(c.Dir, "remote.toml"), what: "users outside", absent: "not there, so no user signs in from outside but by decision"})
	for _, name := range sorted(c.Certificates) {
		named(c.Certificates[name].Cert, "certificate "+name, false)
		named(c.Certificates[name].Key, "key of "+name, true)
	}
	for _, name := range sorted(c.Listeners) {
		named(c.Listeners[name].PeerCA, "authorities of listener "+name, false)
		named(c.Listeners[name].ClientCA, "authorities of devices, of listener "+name, false)
		named(c.Listeners[name].PeerCRL, "revocations of listener "+name, false)
	}
	for _, name := range sorted(c.Pools) {
		named(c.Pools[name].CA, "authorities of pool "+name, false)
	}
	named(l.CA, "authorities of the directory", false)
	named(l.PasswordFile, "password for the directory", true)
	return list
}

// check judges one file for the account that runs the edge.
func (f file) check(a account) finding {
	path, err := filepath.Abs(f.path)
	if err != nil {
		return finding{failed, f.path, err.Error(), "Name it by its whole path."}
	}
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err) && f.absent != "":
		return finding{noted, f.path, f.what + ": " + f.absent, "Make it when there is something to write."}
	case os.IsPermission(err):
		return finding{failed, f.path, f.what + ": who runs doctor cannot reach it", "Run doctor as root, or as " + a.name + "."}
	case err != nil:
		return finding{failed, f.path, f.what + ": " + err.Error(), "Put it there, or mend its path in the configuration."}
	case !info.Mode().IsRegular():
		return finding{failed, f.path, f.what + ": not a regular file", "Put a file there."}
	}
	out := finding{fine, f.path, f.what + ", " + mode(info) + ", readable", ""}
	for _, judge := range []func(account, string, fs.FileInfo) (level, string, string){f.unreadable, f.exposed, f.changeable} {
		if l, evidence, remedy := judge(a, path, info); l > out.Level {
			out = finding{l, f.path, f.what + ", " + mode(info) + ": " + evidence, remedy}
		}
	}
	return out
}

// unreadable: what the edge cannot read it cannot start with, or loses when it
// reads it again. The folders on the way have lines of their own.
func (f file) unreadable(a account, path string, info fs.FileInfo) (level, string, string) {
	switch {
	case a.may(info, toRead):
		return fine, "", ""
	case f.secret:
		return failed, a.name + " cannot read it", fmt.Sprintf("chown %s %s && chmod 0600 %[2]s", a.name, f.path)
	}
	return failed, a.name + " cannot read it", "chmod a+r " + f.path
}

// closed are the folders that keep the account from these files, each once.
func closed(files []file, a account) (out []finding) {
	behind := make(map[string]int)
	var folders []string
	for _, f := range files {
		path, err := filepath.Abs(f.path)
		if err != nil {
			continue
		}
		if folder := a.locked(path); folder != "" {
			if behind[folder]++; behind[folder] == 1 {
				folders = append(folders, folder)
			}
		}
	}
	for _, folder := range folders {
		f := finding{Level: failed, Subject: folder}
		if info, err := os.Stat(folder); err == nil {
			f.Evidence = mode(info) + ": "
		}
		f.Evidence += fmt.Sprintf("%s cannot enter it, and %s that the edge reads behind it", a.name, plural(behind[folder], "file"))
		f.Remedy = fmt.Sprintf("Let %s enter the folder (chgrp, chmod g+x), or copy the files to where it can read them, each time that they are renewed.", a.name)
		out = append(out, f)
	}
	return out
}

// renewed is what helps when somebody has read a secret.
func (f file) renewed() string {
	if strings.HasPrefix(f.what, "password") {
		return "the password changed"
	}
	return "a new key certified"
}

// exposed: a key that others read is theirs, too.
func (f file) exposed(a account, path string, info fs.FileInfo) (level, string, string) {
	owner, gid := ownerOf(info)
	switch {
	case !f.secret:
	case others.locked(path) == "" && others.may(info, toRead):
		return failed, "everybody on this machine can read it", fmt.Sprintf("chmod 0600 %s, and have %s if somebody may have read it.", f.path, f.renewed())
	case others.may(info, toRead):
		return warned, "only " + others.locked(path) + " keeps everybody from reading it", "chmod 0600 " + f.path
	case owner != a.uid && owner != 0:
		return warned, accountNumbered(owner).name + " owns it and can read it", fmt.Sprintf("chown %s %s", a.name, f.path)
	case info.Mode().Perm()&0o040 != 0 && gid != 0:
		return noted, "its group can read it", "Make sure that only those are in the group who may have the key."
	}
	return fine, "", ""
}

// changeable: who can write what the edge believes decides for it.
func (f file) changeable(a account, path string, info fs.FileInfo) (level, string, string) {
	if others.locked(path) == "" && others.may(info, toWrite) {
		return failed, "everybody on this machine can change it", "chmod o-w " + f.path
	}
	for _, folder := range foldersOf(path) {
		dir, err := os.Stat(folder)
		if err == nil && others.may(dir, toWrite) && dir.Mode()&fs.ModeSticky == 0 && others.locked(filepath.Join(folder, "x")) == "" {
			return failed, "everybody can put another file in its place, in " + folder, "chmod o-w " + folder
		}
	}
	return fine, "", ""
}

// checkState judges the folder that the edge writes to.
func checkState(dir string, a account) []finding {
	const what = "state_dir"
	path, err := filepath.Abs(dir)
	if err != nil {
		return []finding{{failed, dir, err.Error(), "Name it by its whole path."}}
	}
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return []finding{absentState(dir, path, a)}
	}
	if err != nil || !info.IsDir() {
		return []finding{{failed, dir, what + ": not a folder that can be looked at", fmt.Sprintf("install -d -o %s -m 0700 %s", a.name, dir)}}
	}
	head := what + ", " + mode(info) + ": "
	folder := a.locked(path)
	switch {
	case folder != "":
		return []finding{{failed, dir, head + a.name + " cannot enter " + folder, "Let " + a.name + " enter that folder, or name another state_dir."}}
	case !a.may(info, toRead|toWrite|toEnter):
		return []finding{{failed, dir, head + a.name + " cannot write there", fmt.Sprintf("chown %s %s && chmod 0700 %[2]s", a.name, dir)}}
	case others.locked(path) == "" && (others.may(info, toWrite) || others.may(info, toRead|toEnter)):
		return append([]finding{{warned, dir, head + "others can look into it", "chmod 0700 " + dir}}, stateFiles(dir, path, a)...)
	}
	return append([]finding{{fine, dir, what + ", " + mode(info) + ", writable", ""}}, stateFiles(dir, path, a)...)
}

// absentState: serve makes the folder, if it can.
func absentState(dir, path string, a account) finding {
	folders := foldersOf(path)
	slices.Reverse(folders)
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil && a.may(info, toWrite|toEnter) && a.locked(folder) == "" {
			return finding{noted, dir, "state_dir is not there yet; serve makes it", fmt.Sprintf("To make it beforehand: install -d -o %s -m 0700 %s", a.name, dir)}
		}
		return finding{failed, dir, "state_dir is not there, and " + a.name + " cannot make it in " + folder, fmt.Sprintf("install -d -o %s -m 0700 %s", a.name, dir)}
	}
	return finding{failed, dir, "state_dir cannot be made", "Name another one."}
}

// quoted makes a path one word for a shell: whoever can write to the folder chooses
// the names in it, and root may copy the line.
func quoted(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+@:", r))
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// mostStateFiles bounds how much of the folder is looked at.
const mostStateFiles = 1000

// stateFiles finds what lies in the folder and is not the edge's: a command that
// was run as root leaves files there that the edge cannot write afterwards.
func stateFiles(dir, path string, a account) (out []finding) {
	n, keys := 0, 0
	err := filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if n++; err != nil || n > mostStateFiles {
			return err
		}
		info, err := d.Info()
		if err != nil || at == path || info.Mode()&(fs.ModeSocket|fs.ModeSymlink) != 0 {
			return nil // gone since, or no file
		}
		keys++
		want, remedy := toRead|toWrite, "chmod 0600"
		if d.IsDir() {
			want, remedy = want|toEnter, "chmod 0700"
		}
		shown := filepath.Join(dir, strings.TrimPrefix(at, path))
		switch {
		case strings.Contains(d.Name(), ".damaged-"):
			out = append(out, finding{failed, shown, "a disk has damaged this journal; it was kept as it was found, and what the edge uses lacks what could not be read",
				"Look at partner list, decide anew what is missing, take the file away, and start the edge anew. While it is one of decisions, nobody is let in who is unlisted."})
		case !a.may(info, want):
			out = append(out, finding{failed, shown, mode(info) + ": " + a.name + " cannot read and write it",
				fmt.Sprintf("chown %s %s && %s %[2]s", a.name, quoted(shown), remedy)})
		case !d.IsDir() && others.locked(at) == "" && (others.may(info, toRead) || others.may(info, toWrite)):
			out = append(out, finding{failed, shown, mode(info) + ": others can get at it", "chmod 0600 " + quoted(shown)})
		}
		return nil
	})
	switch {
	case err != nil:
		return append(out, finding{unchecked, dir, "not checked: " + err.Error(), "Run doctor as root, or as " + a.name + "."})
	case out == nil && keys > 0:
		return []finding{{fine, filepath.Join(dir, "*"), fmt.Sprintf("%s in it, all %s's alone", plural(keys, "file"), a.name), ""}}
	}
	return out
}
