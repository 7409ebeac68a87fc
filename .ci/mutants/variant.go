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

// source is a Go file whose functions get variants. A variant is a copy of a function with one
// mutation in it. The function calls the variant if the process was started with the variant's
// number. So many mutations can be in one build.
type source struct {
	text  string
	file  *ast.File
	names []string // the names of the packages that the file uses
	of    map[*ast.FuncDecl][]variant
}

// variant is the mutation of one function.
type variant struct {
	number int
	change change
}

// numberFile is added to each package with variants. A package variable whose initializer calls a
// function with variants depends on mutantNumber, so Go initializes mutantNumber before it.
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

// offset returns the index of a position in the text. Positions count from 1, because each source
// has a token.FileSet of its own.
func offset(p token.Pos) int { return int(p) - 1 }

// add makes a variant of the function that encloses a change. The error says why that is not
// possible.
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
	// A variant has another caller than its function. So it cannot recover for a deferred
	// function, and runtime.Caller has another result.
	if uses(in, "recover") || uses(in, "runtime") {
		return errors.New("its function depends on its caller")
	}
	// The mutated file must also compile by itself, where an unused import is an error.
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

// uses reports whether a node contains a name.
func uses(n ast.Node, name string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == name
		return !found
	})
	return found
}

// packagesUsed returns the names of the packages that a file uses: those before a dot that it does
// not declare.
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

// lines is a range of lines of a file, both ends included.
type lines struct{ first, last int }

// write returns the file with its variants, and the lines of each variant. The lines of the file
// itself keep their numbers.
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

// caller returns the statements with which a function calls a variant, with %d for the variant's
// number. It also returns the changes that name all parameters of the function, so that the call
// can pass them.
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
