package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// netnsPrefix begins the names of all network namespaces of plays; the number of
// the process that made one comes next.
const netnsPrefix = "sipedge-play-"

// netns makes two network namespaces that are joined by a wire: netns
// NAME=ADDRESS NAME=ADDRESS. The variable NAME is then what "in=" takes.
func (s *stage) netns(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: netns NAME=ADDRESS/BITS NAME=ADDRESS/BITS")
	}
	if err := sweepNetns(); err != nil {
		return err
	}
	var names, addrs []string
	for _, arg := range args {
		name, addr, _ := strings.Cut(arg, "=")
		ns := fmt.Sprintf("%s%d-%s-%s", netnsPrefix, os.Getpid(), filepath.Base(s.dir), strings.ToLower(name))
		if err := ip("netns", "add", ns); err != nil {
			return err
		}
		s.nets = append(s.nets, ns)
		s.set(name, ns)
		names, addrs = append(names, ns), append(addrs, addr)
	}
	if err := ip("link", "add", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1]); err != nil {
		return err
	}
	for i, ns := range names {
		err := errors.Join(ip("-n", ns, "addr", "add", addrs[i], "dev", "wire"),
			ip("-n", ns, "link", "set", "wire", "up"), ip("-n", ns, "link", "set", "lo", "up"))
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepNetns removes what plays have left behind whose process was killed.
func sweepNetns() error {
	left, err := filepath.Glob("/var/run/netns/" + netnsPrefix + "*")
	if err != nil {
		return err
	}
	for _, path := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), netnsPrefix), "-")
		if n, err := strconv.Atoi(pid); err != nil || n == os.Getpid() || syscall.Kill(n, 0) == nil {
			continue
		}
		if err := ip("netns", "del", filepath.Base(path)); err != nil {
			return err
		}
	}
	return nil
}

// removeNetns removes the namespaces of a play, with what is in them.
func removeNetns(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, ip("netns", "del", name))
	}
	return errors.Join(errs...)
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// setns is the number of a system call that package syscall has not got.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}

// inside calls f within a network namespace, "" for our own: the sockets that it
// makes stay there.
func inside(ns string, f func() error) error {
	if ns == "" {
		return f()
	}
	number, ok := setns[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no network namespaces on %s", runtime.GOARCH)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		file, err := os.Open("/var/run/netns/" + ns)
		if err != nil {
			done <- err
			return
		}
		defer file.Close()
		if _, _, errno := syscall.RawSyscall(number, file.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
			done <- fmt.Errorf("enter %s: %w", ns, errno)
			return
		}
		done <- f()
	}()
	return <-done
}

// mayMakeNetns reports why no network namespaces can be made here.
func mayMakeNetns() error {
	if os.Getuid() != 0 {
		return errors.New("network namespaces are for root")
	}
	name := fmt.Sprintf("%s%d-trial", netnsPrefix, os.Getpid())
	if err := ip("netns", "add", name); err != nil {
		return err
	}
	return ip("netns", "del", name)
}
