package messages

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A reader that loads, acts and waits sees the newest value in the end, however
// fast the owner stores.
func TestLatestMissesNoNewestValue(t *testing.T) {
	const newest = 10000
	cell := NewLatest(0)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for seen := -1; ; {
				v, changed := cell.Load()
				if v <= seen {
					t.Errorf("after %d came %d", seen, v)
					return
				}
				if seen = v; seen == newest {
					return
				}
				<-changed
			}
		})
	}
	for v := 1; v <= newest; v++ {
		cell.Store(v)
	}
	readers.Wait()
	if v := cell.Get(); v != newest {
		t.Errorf("the cell holds %d", v)
	}
}

func TestLatestWakesOncePerStore(t *testing.T) {
	cell := NewLatest("a")
	_, changed := cell.Load()
	select {
	case <-changed:
		t.Fatal("changed before a store")
	default:
	}
	cell.Store("b")
	<-changed
	v, again := cell.Load()
	select {
	case <-again:
		t.Error("changed once more without a store")
	default:
	}
	if v != "b" {
		t.Errorf("the cell holds %q", v)
	}
}

func TestMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := NewMailbox[int](2)
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		for i := range 2 {
			if err := box.Send(ctx, i); err != nil {
				t.Fatalf("with room left: %v", err)
			}
		}
		sent := make(chan error, 1)
		go func() { sent <- box.Send(ctx, 2) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("a full mailbox took a message: %v", err)
		default:
		}
		if got := <-box.Messages(); got != 0 {
			t.Errorf("first came %d", got)
		}
		if err := <-sent; err != nil {
			t.Errorf("with room again: %v", err)
		}

		go func() { sent <- box.Send(ctx, 3) }()
		synctest.Wait()
		cancel(why)
		if err := <-sent; err != why {
			t.Errorf("Send of an ended context says %v, want its cause", err)
		}
		if a, b := <-box.Messages(), <-box.Messages(); a != 1 || b != 2 {
			t.Errorf("then came %d and %d", a, b)
		}
		select {
		case got := <-box.Messages():
			t.Errorf("a message that was not sent came: %d", got)
		default:
		}
	})
}

// The lists that tables and metrics go by hold every constant of their type.
func TestListsAreComplete(t *testing.T) {
	declared := constants(t)
	for typeName, list := range map[string][]string{
		"Kind": texts(Kinds), "Phase": texts(Phases), "Reason": texts(Reasons), "Impairment": texts(Impairments),
		"Trouble": texts(Troubles), "CauseKind": texts(CauseKinds),
	} {
		want := slices.DeleteFunc(declared[typeName], func(v string) bool { return v == "" })
		slices.Sort(want)
		slices.Sort(list)
		if len(want) == 0 || !slices.Equal(list, want) {
			t.Errorf("the list of every %s is %q, declared are %q", typeName, list, want)
		}
	}
}

func texts[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return all
}

// constants maps each type to the values of its string constants.
func constants(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, file := range sources(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, isNamed := spec.Type.(*ast.Ident)
			value, isText := spec.Values[0].(*ast.BasicLit)
			if isNamed && isText && value.Kind == token.STRING {
				text, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				all[kind.Name] = append(all[kind.Name], text)
			}
			return true
		})
	}
	return all
}

// sources parses the package without its tests.
func sources(t *testing.T) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// Every event names itself by a kind of its own, and every kind is an event's.
func TestEveryEventHasItsKind(t *testing.T) {
	var events, named []string
	for _, file := range sources(t) {
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			receiver := fmt.Sprint(fn.Recv.List[0].Type)
			switch fn.Name.Name {
			case "isEvent":
				events = append(events, receiver)
			case "Kind":
				answer := fn.Body.List[0].(*ast.ReturnStmt).Results[0]
				if got := fmt.Sprint(answer); got != "Kind"+receiver {
					t.Errorf("%s is of the kind %s", receiver, got)
				}
				named = append(named, receiver)
			}
		}
	}
	slices.Sort(events)
	slices.Sort(named)
	if !slices.Equal(events, named) || len(events) != len(Kinds) {
		t.Errorf("events %v, with a kind %v, and %d kinds", events, named, len(Kinds))
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := NewLatest(1)
		big := func(v int) bool { return v > 2 }
		if v, err := cell.Await(t.Context(), func(v int) bool { return v == 1 }); v != 1 || err != nil {
			t.Errorf("what holds already: %d %v", v, err)
		}
		got := make(chan int)
		go func() {
			v, err := cell.Await(t.Context(), big)
			if err != nil {
				t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		cell.Store(2)
		synctest.Wait()
		cell.Store(3)
		if v := <-got; v != 3 {
			t.Errorf("awaited %d", v)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := cell.Await(ctx, func(int) bool { return false }); err != context.Canceled {
			t.Errorf("a context that has ended: %v", err)
		}
		if v, err := cell.Await(ctx, big); v != 3 || err != nil {
			t.Errorf("a value that holds wins: %d %v", v, err)
		}
	})
}
