package messages

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
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
	declared := constants(t, "messages.go", "tailnet.go")
	for typeName, list := range map[string][]string{
		"Phase": texts(Phases), "Reason": texts(Reasons), "Impairment": texts(Impairments),
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
func constants(t *testing.T, files ...string) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
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
