package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// positions tells where each key of a file stands. Keys are full names, such
// as "proxy.timeout_secs"; "headers[0]" is the first rule and "headers" the
// list.
type positions map[string]unstable.Position

// schema maps every name that a file may use to the Go type behind it; the
// rules of the headers list are under "headers[]".
var schema = schemaOf("", reflect.TypeFor[document]())

func schemaOf(prefix string, t reflect.Type) map[string]reflect.Type {
	names := make(map[string]reflect.Type)
	for field := range t.Fields() {
		name := prefix + field.Tag.Get("toml")
		names[name] = field.Type
		switch field.Type.Kind() {
		case reflect.Struct:
			maps.Copy(names, schemaOf(name+".", field.Type))
		case reflect.Slice:
			maps.Copy(names, schemaOf(name+"[].", field.Type.Elem()))
		}
	}
	return names
}

// indexer walks the syntax tree of a file. It notes where keys stand and what
// is unknown or of the wrong type, so that one run reports it all.
type indexer struct {
	path   string
	parser unstable.Parser
	keys   positions
	rules  int // elements of the headers list so far
	errs   []error
}

// scope is where a key is written: the table's name as shown to a person and
// as the schema knows it, both with a dot at the end unless empty.
type scope struct{ shown, known string }

// index returns the position of every key of a file.
func index(path string, data []byte) (positions, error) {
	x := &indexer{path: path, keys: make(positions)}
	x.parser.Reset(data)
	table := &scope{} // nil below a table that has been complained about
	for len(x.errs) < maxProblems && x.parser.NextExpression() {
		node := x.parser.Expression()
		switch {
		case node.Kind != unstable.KeyValue:
			table = x.enterTable(node)
		case table != nil:
			x.keyValue(*table, node)
		}
	}
	if err := x.parser.Error(); err != nil {
		x.syntaxError(err)
	}
	return x.keys, joined(x.errs...)
}

// enterTable handles [name] and [[name]] and returns the scope that follows.
func (x *indexer) enterTable(node *unstable.Node) *scope {
	name, at := x.name(node)
	list := node.Kind == unstable.ArrayTable
	t, known := schema[name]
	switch {
	case known && t.Kind() == reflect.Struct && !list:
		x.keys[name] = at
		return &scope{name + ".", name + "."}
	case known && t.Kind() == reflect.Slice && list:
		x.keys[name] = at
		return x.element(name, at)
	case known && t.Kind() == reflect.Struct:
		x.fail(name, at, "is a table, not a list", "write ["+name+"]")
	case known && t.Kind() == reflect.Slice:
		x.fail(name, at, "is a list of tables", "write [["+name+"]]")
	default:
		x.unknown(name, "", at, "table")
	}
	return nil
}

// element begins the next element of the headers list.
func (x *indexer) element(list string, at unstable.Position) *scope {
	name := fmt.Sprintf("%s[%d]", list, x.rules)
	x.keys[name] = at
	x.rules++
	return &scope{name + ".", list + "[]."}
}

func (x *indexer) keyValue(in scope, node *unstable.Node) {
	name, at := x.name(node)
	shown, known := in.shown+name, in.known+name
	t, ok := schema[known]
	if !ok {
		x.unknown(shown, known, at, "key")
		return
	}
	if before, twice := x.keys[shown]; twice {
		x.fail(shown, at, fmt.Sprintf("is already set on line %d", before.Line), "keep one of the two")
		return
	}
	x.keys[shown] = at
	x.value(scope{shown, known}, at, t, node.Value())
}

// value compares a value with the type that its key wants, and looks into
// inline tables and lists of them.
func (x *indexer) value(key scope, at unstable.Position, t reflect.Type, value *unstable.Node) {
	var fits bool
	var remedy string
	switch t.Kind() {
	case reflect.String:
		fits, remedy = value.Kind == unstable.String, "write a string in quotes"
	case reflect.Bool:
		fits, remedy = value.Kind == unstable.Bool, "write true or false"
	case reflect.Int64:
		fits, remedy = value.Kind == unstable.Integer, "write a whole number"
	case reflect.Float64:
		fits, remedy = value.Kind == unstable.Integer || value.Kind == unstable.Float, "write a number"
	case reflect.Struct:
		fits, remedy = value.Kind == unstable.InlineTable, "write a ["+key.shown+"] table"
	case reflect.Slice:
		fits, remedy = value.Kind == unstable.Array, "write [["+key.shown+"]] tables"
	}
	switch {
	case !fits:
		x.fail(key.shown, at, fmt.Sprintf("has the wrong type (%s)", value.Kind), remedy)
	case t.Kind() == reflect.Struct:
		x.inlineTable(scope{key.shown + ".", key.known + "."}, value)
	case t.Kind() == reflect.Slice:
		for it := value.Children(); it.Next(); {
			if it.Node().Kind == unstable.InlineTable {
				x.inlineTable(*x.element(key.shown, at), it.Node())
			} else {
				x.fail(key.shown, at, fmt.Sprintf("has an element of the wrong type (%s)", it.Node().Kind), remedy)
			}
		}
	}
}

func (x *indexer) inlineTable(in scope, table *unstable.Node) {
	for it := table.Children(); it.Next(); {
		x.keyValue(in, it.Node())
	}
}

// name joins the parts of a node's key and says where the first one stands.
func (x *indexer) name(node *unstable.Node) (string, unstable.Position) {
	var parts []string
	var at unstable.Position
	for it := node.Key(); it.Next(); {
		if parts == nil {
			at = x.parser.Shape(it.Node().Raw).Start
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), at
}

// unknown complains about a name and lists those that would be known there.
func (x *indexer) unknown(shown, known string, at unstable.Position, what string) {
	remedy := "the keys here are "
	names := children(known[:strings.LastIndexByte(known, '.')+1])
	if !strings.Contains(known, ".") || names == nil {
		remedy, names = "the tables are ", children("")
	}
	x.fail(shown, at, "is an unknown "+what, remedy+strings.Join(names, ", "))
}

// children lists the names that the schema has directly below a prefix.
func children(prefix string) []string {
	var names []string
	for name := range schema {
		if rest, below := strings.CutPrefix(name, prefix); below && !strings.ContainsAny(rest, ".[") {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return names
}

func (x *indexer) fail(name string, at unstable.Position, problem, remedy string) {
	x.errs = append(x.errs, &Error{
		File: x.path, Line: at.Line, Column: at.Column, Key: name, Problem: problem, Remedy: remedy,
	})
}

func (x *indexer) syntaxError(err error) {
	var at unstable.Position
	if syntax := (*unstable.ParserError)(nil); errors.As(err, &syntax) {
		at = x.parser.Shape(x.parser.Range(syntax.Highlight)).Start
	}
	x.fail("", at, "is not TOML: "+err.Error(), "")
}
