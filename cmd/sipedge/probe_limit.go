package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/edge"
)

// How often others are probed: nobody asked us to. No flag changes it.
const (
	probeEvery  = 10 * time.Second // one domain
	probeWindow = time.Hour        // all domains together,
	probeTotal  = 60               // so many in that time
	stampFile   = "probes"
	stampOctets = 64 << 10
)

// probeStamps is the file that probes of all invocations are noted in: beside
// the state of the edge if we may write there, else in the user's own folder.
func probeStamps(conf edge.Config) (string, error) {
	if conf.StateDir != "" {
		dir := beside(conf.Dir, conf.StateDir)
		if f, err := openStamps(filepath.Join(dir, stampFile)); err == nil {
			f.Close()
			return f.Name(), nil
		}
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("note the probe: %w; without a note of it none is sent", err)
	}
	dir = filepath.Join(dir, "sipedge")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("note the probe: %w; without a note of it none is sent", err)
	}
	return filepath.Join(dir, stampFile), nil
}

// openStamps opens the file. What root makes in somebody's folder is given to
// him: the edge keeps what lies beside its state. He may have put something there,
// such as another name of a file that is not his, to be given that.
func openStamps(path string) (*os.File, error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := onlyThere(f); err != nil {
		f.Close()
		return nil, err
	}
	if os.Getuid() == 0 {
		uid, gid := ownerOf(dir)
		if err := f.Chown(int(uid), int(gid)); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// onlyThere returns an error unless f is a regular file with no other name.
func onlyThere(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || !info.Mode().IsRegular() || s.Nlink != 1 {
		return fmt.Errorf("%s is no file of its own", f.Name())
	}
	return nil
}

// A stamp is one probe that was sent.
type probeStamp struct {
	at     time.Time
	domain string
}

// takeProbe notes that a domain is probed now, or says when it may be. The file
// is locked meanwhile: two that ask at the same time are not both let through.
func takeProbe(path, domain string, now time.Time) error {
	f, err := openStamps(path)
	if err != nil {
		return fmt.Errorf("note the probe: %w; without a note of it none is sent", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, stampOctets+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	stamps, err := readStamps(data, now)
	if err != nil {
		return fmt.Errorf("%s: %w; remove it to begin anew", path, err)
	}
	if err := mayProbe(stamps, domain, now); err != nil {
		return exit{exitNotPermitted, err}
	}
	return writeStamps(f, append(stamps, probeStamp{now, domain}))
}

// readStamps reads the probes of the last hour. One from the future, of before
// the clock was set back, does not count.
func readStamps(data []byte, now time.Time) (stamps []probeStamp, err error) {
	if len(data) > stampOctets {
		return nil, errors.New("too large")
	}
	for line := range bytes.Lines(data) {
		at, domain, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		n, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("line %d is not a time and a domain", len(stamps)+1)
		}
		if s := (probeStamp{time.Unix(0, n), domain}); !s.at.After(now) && now.Sub(s.at) < probeWindow {
			stamps = append(stamps, s)
		}
	}
	return stamps, nil
}

// mayProbe says when the next probe is allowed, or nil for now.
func mayProbe(stamps []probeStamp, domain string, now time.Time) error {
	var next time.Time
	var why string
	for _, s := range stamps {
		if t := s.at.Add(probeEvery); s.domain == domain && t.After(now) && t.After(next) {
			next, why = t, fmt.Sprintf("%s was probed %v ago; once in %v is enough", domain, now.Sub(s.at).Round(time.Second), probeEvery)
		}
	}
	if n := len(stamps) - probeTotal; n >= 0 {
		if t := stamps[n].at.Add(probeWindow); t.After(next) {
			next, why = t, fmt.Sprintf("%d probes were sent within %v; more than that is scanning", len(stamps), probeWindow)
		}
	}
	if next.IsZero() {
		return nil
	}
	return fmt.Errorf("%s: the next one is allowed at %s (in %v)", why, next.Format("15:04:05"), next.Sub(now).Truncate(time.Second)+time.Second)
}

// writeStamps puts the probes into the file.
func writeStamps(f *os.File, stamps []probeStamp) error {
	var b bytes.Buffer
	for _, s := range stamps {
		fmt.Fprintln(&b, s.at.UnixNano(), s.domain)
	}
	if _, err := f.WriteAt(b.Bytes(), 0); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	if err := f.Truncate(int64(b.Len())); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return nil
}
