package listing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"castar/store"
)

// parseName reads the first word of a line: "." for the root, or a name.
func parseName(word []byte) (string, error) {
	name, err := unescape(word)
	if err == nil && name != "." {
		err = store.ValidateName(name)
	}
	return name, err
}

// cutWord returns the first word of a line and what follows it. The word is empty if there is none.
func cutWord(line []byte) (word, rest []byte) {
	from := 0
	for from < len(line) && isBlank(line[from]) {
		from++
	}
	to := from
	for to < len(line) && !isBlank(line[to]) {
		to++
	}
	return line[from:to], line[to:]
}

// isBlank reports whether a byte stands between words.
func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// set takes the values of keywords, which have blanks between them. After an error e makes no sense.
func (e *Entry) set(words []byte) error {
	for {
		var word []byte
		if word, words = cutWord(words); len(word) == 0 {
			return nil
		}
		keyword, value := word, []byte(nil)
		if i := bytes.IndexByte(word, '='); i >= 0 {
			keyword, value = word[:i], word[i+1:]
		}
		if err := e.setOne(keyword, value); err != nil {
			return fmt.Errorf("%s: %w", keyword, err)
		}
	}
}

// setOne takes the value of one keyword. It passes over those that it does not know.
func (e *Entry) setOne(keyword, value []byte) (err error) {
	switch string(keyword) {
	case "type":
		e.Kind, err = parseKind(string(value))
	case "uid":
		e.UID, err = parseUint32(value, 10, math.MaxUint32)
	case "gid":
		e.GID, err = parseUint32(value, 10, math.MaxUint32)
	case "mode":
		e.Mode, err = parseUint32(value, 8, modeMask)
	case "uname":
		e.User, err = unescape(value)
	case "gname":
		e.Group, err = unescape(value)
	case "time":
		err = e.setTime(string(value))
	case "size":
		e.Size, err = strconv.ParseUint(string(value), 10, 64)
	case "link":
		e.Target, err = unescape(value)
	case "nlink":
		e.Links, err = strconv.ParseUint(string(value), 10, 64)
	case "inode":
		e.Inode, err = strconv.ParseUint(string(value), 10, 64)
	case "resdevice":
		e.Device, err = strconv.ParseUint(string(value), 10, 64)
	case "tags":
		err = e.setTags(string(value))
	default:
		if name, ok := bytes.CutPrefix(keyword, []byte("xattr.")); ok {
			err = e.addXattr(name, value)
		}
	}
	return err
}

func parseKind(word string) (store.Kind, error) {
	switch word {
	case "dir":
		return store.KindDirectory, nil
	case "file":
		return store.KindFile, nil
	case "link":
		return store.KindSymlink, nil
	}
	return 0, fmt.Errorf("%q is not kept in a tree", word)
}

func parseUint32(digits []byte, base int, most uint32) (uint32, error) {
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err == nil && n > uint64(most) {
		err = fmt.Errorf("%s is more than is allowed", digits)
	}
	return uint32(n), err
}

// setTime reads seconds, a dot, and up to nine digits of a fraction.
func (e *Entry) setTime(text string) (err error) {
	seconds, fraction, _ := strings.Cut(text, ".")
	if e.Seconds, err = strconv.ParseInt(seconds, 10, 64); err != nil {
		return err
	}
	if len(fraction) > 9 {
		return errors.New("more than nine digits after the dot")
	}
	n, err := strconv.ParseUint(fraction+"000000000"[len(fraction):], 10, 32)
	e.Nanoseconds = uint32(n)
	return err
}

// setTags reads words with commas between them.
func (e *Entry) setTags(text string) (err error) {
	for word := range strings.SplitSeq(text, ",") {
		if digits, ok := strings.CutPrefix(word, "allocated-"); ok {
			e.Sparse = true
			if e.Allocated, err = strconv.ParseUint(digits, 10, 64); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Entry) addXattr(escaped, value []byte) error {
	name, err := unescape(escaped)
	if err != nil {
		return err
	}
	if name == "" || strings.ContainsRune(name, 0) {
		return errors.New("not a name of an attribute")
	}
	data, err := base64.StdEncoding.AppendDecode([]byte{}, value)
	if err != nil {
		return err
	}
	e.Xattrs = append(e.Xattrs[:len(e.Xattrs):len(e.Xattrs)], Xattr{name, data})
	return nil
}

// unescape is the reverse of appendEscaped.
func unescape(word []byte) (string, error) {
	if bytes.IndexByte(word, '\\') < 0 {
		return string(word), nil
	}
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] != '\\' {
			b.WriteByte(word[i])
			continue
		}
		n, err := strconv.ParseUint(string(word[i+1:min(i+4, len(word))]), 8, 8)
		if err != nil || i+4 > len(word) {
			return "", fmt.Errorf("%q: want three octal digits after a backslash", word)
		}
		b.WriteByte(byte(n))
		i += 3
	}
	return b.String(), nil
}
