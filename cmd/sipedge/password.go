package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
)

// errNoPassword never proposes the command line, which everybody on the machine can
// read.
var errNoPassword = errors.New("there is no password: --password-file FILE, or pipe it in")

const maxPassword = 1 << 10 // octets

// password reads one from the first line of a file, or of what is piped in, or asks
// for it on a terminal that does not show it.
func password(file, prompt string, say io.Writer) (string, error) {
	in := os.Stdin
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	} else if seen, ok := quietTerminal(in); ok {
		fmt.Fprint(say, prompt)
		defer fmt.Fprintln(say)
		defer seen()
		defer onInterrupt(seen)()
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxPassword)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errNoPassword
	}
	return line, nil
}

// onInterrupt puts things right before an interrupt ends the process, until stop is
// called.
func onInterrupt(do func()) (stop func()) {
	signals, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt)
	go func() {
		select {
		case <-signals:
			do()
			os.Exit(exitFailed)
		case <-over:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(over)
	}
}
