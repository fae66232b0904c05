package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one thing that is wrong with the configuration.
type Error struct {
	// File is the file's path, or "environment".
	File string
	// Line and Column count from 1, the column in bytes; both are 0 when no
	// line of the file is to blame.
	Line, Column int
	// Key is the full name of the key, flag or variable, such as
	// "proxy.timeout_secs" or "headers[0].name". Empty for a syntax error.
	Key string
	// Problem and Remedy are for a person and show no value.
	Problem, Remedy string

	cause error
}

// Error reads "FILE:LINE:COLUMN: key: problem; remedy".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(printable(e.File))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Key != "" {
		b.WriteString(": " + printable(e.Key))
	}
	b.WriteString(": " + e.Problem)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns what the operating system said, if it was asked.
func (e *Error) Unwrap() error { return e.cause }

// maxProblems is how many problems are reported at once: a file that is not
// ours at all must not fill a log.
const maxProblems = 20

// joined is errors.Join of the first few problems, except that a single error
// stays itself.
func joined(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	errs = errs[:min(len(errs), maxProblems)]
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// printable quotes what would not survive a line of log: TOML allows any text
// as a key, Linux almost any as a path.
func printable(s string) string {
	if isPlain(s) {
		return s
	}
	return strconv.Quote(s)
}
