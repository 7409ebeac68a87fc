package goget

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// block is a Go block of a README.
type block struct {
	text string
	line int // the number of its first line
}

func blocks(text string) (all []block) {
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		if word := strings.TrimSpace(lines[i]); word != "```go" && word != "```golang" {
			continue
		}
		b := block{line: i + 2}
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			b.text += lines[i]
		}
		all = append(all, b)
	}
	return all
}

// There are three kinds of blocks. A program with a main function is built and run. A block
// that quotes the Go files beside the README is a part of the program there, and that program
// is built, unless it is a module of its own: then the module's tests build it. All other
// blocks are fragments of a gateway: each is put into a function, inside the function of the
// block before it, so that it can use what that block declares. The first block uses what
// host.go.txt declares.
func TestWhatTheREADMEsShow(t *testing.T) {
	files, err := tracked()
	require.NoError(t, err)
	p, err := packed()
	require.NoError(t, err)
	shown := 0
	for _, name := range files {
		if base := path.Base(name); base != "README.md" && base != "GUIDE.md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(top, name))
		require.NoError(t, err)
		all := blocks(string(text))
		if len(all) == 0 {
			continue
		}
		shown += len(all)
		t.Run(name, func(t *testing.T) {
			var fragments []block
			quoted := false
			beside := flat(besides(t, path.Dir(name)))
			for _, b := range all {
				_, err := parser.ParseFile(token.NewFileSet(), "", b.text, parser.SkipObjectResolution)
				switch {
				case strings.Contains(beside, flat(b.text)):
					quoted = true
				case err == nil && regexp.MustCompile(`(?m)^package main$`).MatchString(b.text):
					t.Run(fmt.Sprintf("the program of line %d", b.line), func(t *testing.T) { tryProgram(t, b) })
				default:
					fragments = append(fragments, b)
				}
			}
			if _, own := p.folders[root+"/"+path.Dir(name)]; quoted && !own {
				t.Run("the program beside it", func(t *testing.T) {
					u := newUser(t)
					u.get(root)
					u.run("go", "build", "-o", filepath.Join(u.dir, "program"), root+"/"+path.Dir(name))
				})
			}
			if len(fragments) > 0 {
				t.Run("the fragments", func(t *testing.T) {
					u := newUser(t)
					u.get(root)
					require.NoError(t, u.fragments(name, fragments))
				})
			}
		})
	}
	require.GreaterOrEqual(t, shown, 10)
}

// A fault in a fragment is found, and the error names its line in the README.
func TestFaultsOfFragmentsAreFound(t *testing.T) {
	u := newUser(t)
	u.get(root)
	for _, c := range []struct {
		readme string
		faults []string // the error must contain all of them; nil: the fragments compile
	}{
		{"```go\nid := sessionid.Extract(header, body)\n```\n\n```go\nfmt.Println(id)\n```\n", nil},
		{"```go\npick, err := lb.Pick(ctx, request, accounts)\n```\n", []string{"README.md:2: undefined: lb", "no block before it declares lb"}},
		{"two\nlines\n```go\n\nid := sessionid.Extrakt(header, body)\n```\n", []string{"README.md:5: undefined: sessionid.Extrakt"}},
		{"```go\nid := sessionid.Extract(header, body)\n```\nand\n```go\nid.IsNought()\n```\n", []string{"README.md:6: id.IsNought undefined"}},
		{"```go\nimport (\n\tpost \"net/http\"\n)\n\nfunc two() string { return post.MethodPost }\n```\n", nil},
		{"```go\nimport \"net/url\"\n\nu, err := url.Pars(state)\n```\n", []string{"README.md:4: undefined: url.Pars"}},
		{"```go\nlb, err := affinity.New(func(a *Account) string { return a.ID }, nil)\n```\n```go\nc, err := affinityprom.NewCollector(lb, nil)\nprometheus.MustRegister(c)\n```\n", nil},
		{"```go\nif x {\n```\n", []string{"neither statements nor declarations"}},
		{"```go\nif err := send(ctx, nil, request); err != nil { ... }\n```\n", []string{"README.md:2"}},
	} {
		err := u.fragments("README.md", blocks(c.readme))
		if c.faults == nil {
			require.NoError(t, err)
		}
		for _, fault := range c.faults {
			require.ErrorContains(t, err, fault)
		}
	}
}

// flat is a text without indents and empty lines.
func flat(text string) string {
	var b strings.Builder
	b.WriteString("\n") // so that strings.Contains finds whole lines only
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// besides returns the Go code in a folder, without tests.
func besides(t *testing.T, dir string) (text string) {
	names, err := filepath.Glob(filepath.Join(top, dir, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := os.ReadFile(name)
			require.NoError(t, err)
			text += string(file) + "\n"
		}
	}
	return text
}

// fragments compiles the fragments of a README, and adds the missing imports as an editor does.
// Its error names the README's lines.
func (u *user) fragments(readme string, all []block) error {
	host, err := os.ReadFile("host.go.txt")
	if err != nil {
		return err
	}
	var imports []string // each is a name and a path
	add := func(spec string) (is bool) {
		if is = !slices.Contains(imports, spec); is {
			imports = append(imports, spec)
		}
		return is
	}
	var declared, nested, end string
	for _, b := range all {
		if m := leading.FindString(b.text); m != "" {
			f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+m, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, s := range f.Imports {
				name := ""
				if s.Name != nil {
					name = s.Name.Name
				}
				add(name + " " + s.Path.Value)
			}
			b.text = strings.Repeat("\n", strings.Count(m, "\n")) + b.text[len(m):]
		}
		at := fmt.Sprintf("//line %s:%d\n", readme, b.line)
		if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+b.text, parser.SkipObjectResolution); err == nil {
			declared += at + b.text
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() {\n"+at+b.text+"\n}", parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("neither statements nor declarations: %w", err)
		}
		body := f.Decls[0].(*ast.FuncDecl).Body
		vars, results := names(body), results(body)
		nested += "func()" + results + " {\n" + at + b.text + "//line fragments.go:1\n" + vars
		tail := "}()\n"
		if results != "" {
			tail = "panic(0)\n" + tail
		}
		end = tail + end
	}
	code := "func _() {\n" + nested + end + "}\n" + "//line fragments.go:1\n" + declared

	paths, err := known()
	if err != nil {
		return err
	}
	u.write("host.go", string(host))
	for {
		for _, spec := range imports {
			_, pkg, _ := strings.Cut(spec, " ")
			if mod := u.module(strings.Trim(pkg, `"`)); mod != "" && mod != root {
				u.get(mod)
			}
		}
		u.write("fragments.go", "package readme\n\nimport (\n"+strings.Join(imports, "\n")+"\n)\n\n"+code)
		out, failed := u.try("go", "build", "-gcflags=-e", ".")
		if !failed {
			return nil
		}
		more := false
		for line := range strings.Lines(out) {
			_, name, ok := strings.Cut(strings.TrimSpace(line), ": undefined: ")
			if !ok {
				continue
			}
			pkg := paths[name]
			if pkg == "" {
				return fmt.Errorf("no block before it declares %s, nor does .ci/goget/host.go.txt, and no known package has this name:\n%s", name, out)
			}
			more = add(fmt.Sprintf("%s %q", name, pkg)) || more
		}
		if !more {
			return fmt.Errorf("the fragments do not compile:\n%s", out)
		}
	}
}

// leading matches the imports at the beginning of a fragment.
var leading = regexp.MustCompile(`^\s*import (?:"[^"\n]*"|\([^)]*\))\n`)

// names returns statements that use the variables of a fragment. Without them, the compiler would
// refuse a variable that no later fragment uses.
func names(body *ast.BlockStmt) (use string) {
	add := func(e ast.Expr) {
		if name, ok := e.(*ast.Ident); ok && name.Name != "_" {
			use += "_ = " + name.Name + "\n"
		}
	}
	for _, s := range body.List {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				for _, e := range s.Lhs {
					add(e)
				}
			}
		case *ast.DeclStmt:
			if d := s.Decl.(*ast.GenDecl); d.Tok == token.VAR {
				for _, spec := range d.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						add(name)
					}
				}
			}
		}
	}
	return use
}

// results returns the result types of the function around a fragment: as many as its return
// statements need.
func results(body *ast.BlockStmt) string {
	n := 0
	ast.Inspect(body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			n = max(n, len(node.Results))
		}
		return true
	})
	if n == 0 {
		return ""
	}
	return " (" + strings.Repeat("any, ", n-1) + "any)"
}

// known maps a name to the import path of its package: a package of this repository, else one of
// the standard library, else one that this repository imports.
var known = sync.OnceValues(func() (map[string]string, error) {
	paths := map[string]string{}
	add := func(pkg string) {
		name := path.Base(pkg)
		if regexp.MustCompile(`^v[0-9]+$`).MatchString(name) {
			name = path.Base(path.Dir(pkg))
		}
		if old := paths[name]; !strings.Contains(pkg, "internal/") && !strings.HasPrefix(pkg, "vendor/") &&
			(old == "" || len(pkg) < len(old) && strings.HasPrefix(old, root) == strings.HasPrefix(pkg, root)) {
			paths[name] = pkg
		}
	}
	files, err := tracked()
	if err != nil {
		return nil, err
	}
	var others []string
	for _, name := range files {
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, ".") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, name), nil, parser.ImportsOnly|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if dir := path.Dir(name); f.Name.Name == path.Base(dir) {
			add(root + "/" + dir)
		}
		for _, s := range f.Imports {
			others = append(others, strings.Trim(s.Path.Value, `"`))
		}
	}
	std, err := exec.Command("go", "list", "std").Output()
	for _, pkg := range strings.Fields(string(std)) {
		if paths[path.Base(pkg)] == "" || !strings.HasPrefix(paths[path.Base(pkg)], root) {
			add(pkg)
		}
	}
	for _, pkg := range others {
		if _, ok := paths[path.Base(pkg)]; !ok {
			add(pkg)
		}
	}
	return paths, err
})

// module returns the module of this repository that contains a package, or "".
func (p *pack) module(pkg string) (mod string) {
	for m := range p.folders {
		if (pkg == m || strings.HasPrefix(pkg, m+"/")) && len(m) > len(mod) {
			mod = m
		}
	}
	return mod
}
