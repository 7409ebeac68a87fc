package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// source is a file of Go whose functions get variants: copies, each with one mutation in
// it, that are called in place of the function when the number of the mutation is the
// one that the process was started with. So many mutations are built once.
type source struct {
	text  string
	file  *ast.File
	names []string // of packages that the file uses
	of    map[*ast.FuncDecl][]variant
}

// variant is the mutation of one function.
type variant struct {
	number int
	change change
}

// numberFile is put beside the files with variants. Go initializes mutantNumber before
// any variable of the package whose value a function with variants makes.
const numberFile = `package %s

import (
	mutantOS "os"
	mutantStrconv "strconv"
)

var mutantNumber = func() int {
	n, _ := mutantStrconv.Atoi(mutantOS.Getenv("MUTANT"))
	return n
}()
`

func parseSource(text string) (*source, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", text, 0)
	if err != nil {
		return nil, err
	}
	return &source{text, file, packagesUsed(file), map[*ast.FuncDecl][]variant{}}, nil
}

// offset is where a node stands in the text: a position counts from 1, since a source has
// a set of files of its own.
func offset(p token.Pos) int { return int(p) - 1 }

// add makes a variant of the function that encloses a change. Its error says why the
// change cannot be a variant.
func (s *source) add(number int, c change) error {
	c = c.least(s.text)
	var in *ast.FuncDecl
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if ok && f.Body != nil && c.from > offset(f.Body.Lbrace) && c.to <= offset(f.Body.Rbrace) {
			in = f
		}
	}
	if in == nil {
		return errors.New("it is not in the body of a function")
	}
	// A deferred function recovers only what it asks for itself, and who has called is
	// another function for a variant.
	if uses(in, "recover") || uses(in, "runtime") {
		return errors.New("its function asks who has called it")
	}
	// Alone it must compile just as well: an import that nothing uses is an error there.
	mutated, err := parseSource(c.in(s.text))
	if err != nil {
		return err
	}
	if len(mutated.file.Decls) != len(s.file.Decls) || !slices.Equal(mutated.names, s.names) {
		return errors.New("it changes more than its function")
	}
	s.of[in] = append(s.of[in], variant{number, c})
	return nil
}

// uses reports whether a name stands anywhere in a node.
func uses(n ast.Node, name string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == name
		return !found
	})
	return found
}

// packagesUsed returns the names before a dot that are not declared in the file.
func packagesUsed(file *ast.File) []string {
	var names []string
	unknown := map[*ast.Ident]bool{}
	for _, id := range file.Unresolved {
		unknown[id] = true
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && unknown[id] {
				names = append(names, id.Name)
			}
		}
		return true
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// lines are those of a file, from first to last.
type lines struct{ first, last int }

// write returns the file with its variants, and where each of them stands. The lines of the
// file itself keep their numbers.
func (s *source) write() (string, map[int]lines) {
	var (
		edits []change
		added strings.Builder
		where = map[int]lines{}
		line  = strings.Count(s.text, "\n") + 3
	)
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || len(s.of[f]) == 0 {
			continue
		}
		named, call := s.caller(f)
		edits = append(edits, named...)
		var choice strings.Builder
		for _, v := range s.of[f] {
			fmt.Fprintf(&choice, " if mutantNumber == %d { %s };", v.number, fmt.Sprintf(call, v.number))
			text := s.text[offset(f.Pos()):v.change.from] + v.change.new + s.text[v.change.to:offset(f.End())]
			name := offset(f.Name.Pos()) - offset(f.Pos())
			text = text[:name] + fmt.Sprintf("mutant%d_", v.number) + text[name:]
			fmt.Fprintf(&added, "\n%s\n", text)
			where[v.number] = lines{line, line + strings.Count(text, "\n")}
			line += strings.Count(text, "\n") + 2
		}
		body := offset(f.Body.Lbrace) + 1
		edits = append(edits, change{body, body, choice.String()})
	}
	slices.SortFunc(edits, func(a, b change) int { return b.from - a.from })
	text := s.text
	for _, e := range edits {
		text = e.in(text)
	}
	return text + "\n" + added.String(), where
}

// caller returns the statements that leave a function to a variant, with %d for its number,
// and the changes that give the function's parameters names to pass them on by.
func (s *source) caller(f *ast.FuncDecl) (named []change, call string) {
	given := 0
	name := func(fields *ast.FieldList) (all []string) {
		own := func() string {
			given++
			return fmt.Sprintf("mutantArg%d", given)
		}
		for _, field := range fields.List {
			more := ""
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				more = "..."
			}
			if len(field.Names) == 0 {
				at, n := offset(field.Type.Pos()), own()
				named = append(named, change{at, at, n + " "})
				all = append(all, n+more)
			}
			for _, id := range field.Names {
				n := id.Name
				if n == "_" {
					n = own()
					named = append(named, change{offset(id.Pos()), offset(id.End()), n})
				}
				all = append(all, n+more)
			}
		}
		return all
	}
	call = "mutant%d_" + f.Name.Name
	if f.Recv != nil {
		call = name(f.Recv)[0] + "." + call
	}
	if f.Type.TypeParams != nil {
		call += "[" + strings.Join(name(f.Type.TypeParams), ", ") + "]"
	}
	call += "(" + strings.Join(name(f.Type.Params), ", ") + ")"
	if f.Type.Results.NumFields() > 0 {
		return named, "return " + call
	}
	return named, call + "; return"
}
