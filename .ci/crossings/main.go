// Command crossings counts how often the work on one request crosses the border
// between two files of package sessionid and its internal packages. It fails
// when a file layout makes the work jump about.
//
// How it counts: it writes a copy of every Go file in which each function
// reports its file on entry and again on return. A stack of files tells who
// called. A call counts when the caller's file is not the callee's file.
// Everything that is declared with func and has a body is a function here, also
// what the compiler inlines. A function literal belongs to the function that it
// stands in. Assembly and other modules do not report, so a call to them is not
// counted.
//
// The copies replace the files by `go run -overlay`; the repository is not
// touched. The request is always the same: a body of 100 messages that
// body.go.txt generates, without a header and without an id, so that its content
// is hashed.
//
//	cd .ci/crossings && go run .        # the count, and whether it is low enough
//	cd .ci/crossings && go run . -v     # which pairs of files it comes from
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// limit is how many crossings the generated body may cost.
const limit = 1500

const module = "github.com/llmaffinity/llmaffinity"

// counter and run are packages that exist in the overlay only.
const (
	counter = "sessionid/internal/crossings"
	run     = "sessionid/internal/crossings/run"
)

var (
	//go:embed counter.go.txt
	counterSource []byte
	//go:embed body.go.txt
	runSource []byte
)

func main() {
	verbose := flag.Bool("v", false, "list the pairs of files")
	root := flag.String("root", filepath.Join("..", ".."), "the folder of the repository")
	flag.Parse()
	n, pairs, err := count(*root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crossings:", err)
		os.Exit(2)
	}
	if *verbose {
		fmt.Print(pairs)
	}
	fmt.Printf("a body of 100 messages crosses from file to file %d times; at most %d are allowed\n", n, limit)
	if n > limit {
		os.Exit(1)
	}
}

// count builds and runs the instrumented packages of the repository at root.
func count(root string) (n int, pairs string, err error) {
	if root, err = filepath.Abs(root); err != nil {
		return 0, "", err
	}
	temp, err := os.MkdirTemp("", "crossings")
	if err != nil {
		return 0, "", err
	}
	defer os.RemoveAll(temp)
	replace := map[string]string{}
	add := func(path string, text []byte) error {
		name := filepath.Join(temp, strconv.Itoa(len(replace))+".go")
		replace[filepath.Join(root, path)] = name
		return os.WriteFile(name, text, 0o600)
	}
	files, err := filesOf(root)
	if err != nil {
		return 0, "", err
	}
	for _, file := range files {
		text, err := instrument(filepath.Join(root, file), file)
		if err == nil {
			err = add(file, text)
		}
		if err != nil {
			return 0, "", err
		}
	}
	if err := add(counter+"/crossings.go", counterSource); err != nil {
		return 0, "", err
	}
	if err := add(run+"/main.go", runSource); err != nil {
		return 0, "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return 0, "", err
	}
	overlayFile := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return 0, "", err
	}
	out, err := command(root, "go", "run", "-overlay", overlayFile, "./"+run)
	if err != nil {
		return 0, "", err
	}
	first, pairs, _ := strings.Cut(string(out), "\n")
	n, err = strconv.Atoi(first)
	return n, pairs, err
}

// filesOf lists the Go files that this machine builds for sessionid and the
// packages below it, relative to root.
func filesOf(root string) (files []string, err error) {
	out, err := command(root, "go", "list", "-json=Dir,GoFiles", "./sessionid/...")
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var pkg struct {
			Dir     string
			GoFiles []string
		}
		if err := d.Decode(&pkg); err != nil {
			return nil, err
		}
		for _, name := range pkg.GoFiles {
			file, err := filepath.Rel(root, filepath.Join(pkg.Dir, name))
			if err != nil {
				return nil, err
			}
			files = append(files, file)
		}
	}
	return files, nil
}

// instrument is the text of a file with a report at the beginning of each
// function. No line moves.
func instrument(path, name string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	const as = "crossings__"
	var out bytes.Buffer
	from := 0
	insert := func(at token.Pos, s string) {
		i := set.Position(at).Offset
		out.Write(text[from:i])
		out.WriteString(s)
		from = i
	}
	insert(file.Name.End(), fmt.Sprintf("; import %s %q", as, module+"/"+counter))
	reports := 0
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			insert(f.Body.Lbrace+1, fmt.Sprintf(" %s.Enter(%q); defer %s.Leave(); ", as, name, as))
			reports++
		}
	}
	out.Write(text[from:])
	if reports == 0 {
		return text, nil // the import would not be used
	}
	return out.Bytes(), nil
}

// command runs a command in a folder and returns what it prints.
func command(dir, name string, args ...string) ([]byte, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	var failed bytes.Buffer
	c.Stderr = &failed
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, failed.Bytes())
	}
	return out, nil
}
