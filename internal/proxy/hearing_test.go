package proxy

import (
	"regexp"
	"strconv"
	"strings"
)

// spoken is a request as this reading of RFC 9112 has it, which shares nothing
// with the product's, and is written for being right and not for speed.
type spoken struct{ method, target, content string }

const (
	aToken  = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	aQuoted = `"(?:[\t !#-\[\]-~]|[^\x00-\x7f]|\\[\t !-~])*"`
)

var (
	requestLine = regexp.MustCompile(`^(` + aToken + `) ([^\x00- \x7f]+) HTTP/1\.([0-9])$`)
	fieldLine   = regexp.MustCompile(`^(` + aToken + `):[ \t]*((?:[\t -~]|[^\x00-\x7f])*?)[ \t]*$`)
	chunkLine   = regexp.MustCompile(`^([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*` + aToken + `(?:[ \t]*=[ \t]*(?:` + aToken + `|` + aQuoted + `))?)*[ \t]*$`)
	hostValue   = regexp.MustCompile(`^[!$%&'()*+,.:;=\[\]_~0-9A-Za-z-]+$`)
)

// hearing reads requests from the beginning of s, up to the first that is not
// whole, or that cannot be read in one way alone, or behind which there is none.
// rest is what it did not read.
func hearing(s string) (all []spoken, rest string) {
	for {
		for strings.HasPrefix(s, "\r\n") {
			s = s[2:]
		}
		head, body, whole := strings.Cut(s, "\r\n\r\n")
		if !whole {
			return all, s
		}
		lines := strings.Split(head, "\r\n")
		first := requestLine.FindStringSubmatch(lines[0])
		fields, ok := fieldsOf(lines[1:])
		if first == nil || !ok {
			return all, s
		}
		content, behind, ok := contentOf(fields, first[3] == "0", body)
		if !ok {
			return all, s
		}
		all, s = append(all, spoken{first[1], first[2], content}), behind
		if first[3] == "0" || slicesHave(fields["connection"], "close") {
			return all, s
		}
	}
}

func fieldsOf(lines []string) (map[string][]string, bool) {
	fields := map[string][]string{}
	for _, line := range lines {
		m := fieldLine.FindStringSubmatch(line)
		if m == nil {
			return nil, false
		}
		name := strings.ToLower(m[1])
		fields[name] = append(fields[name], m[2])
	}
	return fields, true
}

// slicesHave reports whether lists have a member.
func slicesHave(lists []string, member string) bool {
	for _, m := range strings.Split(strings.Join(lists, ","), ",") {
		if strings.EqualFold(strings.Trim(m, " \t"), member) {
			return true
		}
	}
	return false
}

func contentOf(fields map[string][]string, old bool, body string) (content, rest string, ok bool) {
	host, lengths, codings := fields["host"], fields["content-length"], fields["transfer-encoding"]
	switch {
	case len(host) > 1, len(host) == 0 && !old, len(host) == 1 && !hostValue.MatchString(host[0]):
		return "", "", false
	case codings == nil && lengths == nil:
		return "", body, true
	case lengths == nil:
		if old || len(codings) != 1 || !strings.EqualFold(codings[0], "chunked") {
			return "", "", false
		}
		return chunksOf(body)
	case codings != nil || len(lengths) != 1 || strings.Trim(lengths[0], "0123456789") != "":
		return "", "", false
	}
	n, err := strconv.Atoi(lengths[0])
	if err != nil || n > len(body) {
		return "", "", false
	}
	return body[:n], body[n:], true
}

func chunksOf(s string) (content, rest string, ok bool) {
	for {
		line, behind, whole := strings.Cut(s, "\r\n")
		m := chunkLine.FindStringSubmatch(line)
		if !whole || m == nil {
			return "", "", false
		}
		n, err := strconv.ParseInt(m[1], 16, 62)
		if err != nil {
			return "", "", false
		}
		if n == 0 {
			rest, ok = trailerOf(behind)
			return content, rest, ok
		}
		if int64(len(behind)) < n+2 || behind[n:n+2] != "\r\n" {
			return "", "", false
		}
		content, s = content+behind[:n], behind[n+2:]
	}
}

func trailerOf(s string) (rest string, ok bool) {
	for {
		line, behind, whole := strings.Cut(s, "\r\n")
		switch {
		case !whole:
			return "", false
		case line == "":
			return behind, true
		case !fieldLine.MatchString(line):
			return "", false
		}
		s = behind
	}
}
