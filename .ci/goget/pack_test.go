// Package goget gets the library as a user does, from a Go proxy on disk, and tries what
// the READMEs show.
package goget

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const root = "github.com/llmaffinity/llmaffinity"

// pack is a Go proxy on disk that serves the repository's modules.
type pack struct {
	dir     string            // the folder of the proxy
	version string            // the version of all modules in it
	folders map[string]string // module path to folder in the repository
}

// packed makes the pack. The version of its modules is the one that they require of each other,
// with a hash of their content behind it. So nothing replaces the real version in the module
// cache, and remove can find what the tests have put there.
var packed = sync.OnceValues(func() (*pack, error) {
	p := &pack{folders: map[string]string{}}
	files, err := tracked()
	if err != nil {
		return nil, err
	}
	var required string
	mods := map[string]*modfile.File{}
	for _, name := range files {
		if path.Base(name) != "go.mod" || strings.HasPrefix(name, ".") || strings.Contains(name, "/internal/") {
			continue // nobody can fetch these
		}
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			return nil, err
		}
		mod, err := modfile.Parse(name, text, nil)
		if err != nil {
			return nil, err
		}
		mods[path.Dir(name)] = mod
		p.folders[mod.Module.Mod.Path] = path.Dir(name)
		for _, r := range mod.Require {
			if r.Mod.Path != root && !strings.HasPrefix(r.Mod.Path, root+"/") {
				continue
			}
			if required == "" {
				required = r.Mod.Version
			}
			if r.Mod.Version != required || strings.HasPrefix(required, "v0.0.0") {
				return nil, fmt.Errorf("%s requires %s, but the other modules require the version %s: run .ci/release VERSION -require", name, r.Mod, required)
			}
		}
	}
	content := sha256.New()
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(content, "%s %d\n%s", name, len(text), text)
	}
	p.version = fmt.Sprintf("%s-head-%x", required, content.Sum(nil)[:6])
	if p.dir, err = os.MkdirTemp("", "goget"); err != nil {
		return nil, err
	}
	for folder, mod := range mods {
		if err := p.add(folder, mod, files); err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
	}
	return p, nil
})

// add writes the files of a module into the proxy.
func (p *pack) add(folder string, mod *modfile.File, files []string) error {
	v := module.Version{Path: mod.Module.Mod.Path, Version: p.version}
	for _, r := range mod.Require {
		if r.Mod.Path == root || strings.HasPrefix(r.Mod.Path, root+"/") {
			if err := mod.AddRequire(r.Mod.Path, p.version); err != nil {
				return err
			}
		}
	}
	text, err := mod.Format()
	if err != nil {
		return err
	}
	dir := filepath.Join(p.dir, filepath.FromSlash(v.Path), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, v.Version+".mod"), text, 0o644); err != nil {
		return err
	}
	var zipped []zip.File
	for _, name := range files {
		inside, ok := strings.CutPrefix(name, folder+"/")
		if folder == "." {
			inside, ok = name, true
		}
		if ok && p.owner(name, files) == folder {
			f := file{inside, filepath.Join(top, name)}
			if inside == "go.mod" {
				f.path = filepath.Join(dir, v.Version+".mod")
			}
			zipped = append(zipped, f)
		}
	}
	var b bytes.Buffer
	if err := zip.Create(&b, v, zipped); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"list":              v.Version + "\n",
		v.Version + ".info": `{"Version":"` + v.Version + `"}`,
		v.Version + ".zip":  b.String(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// owner returns the folder of the module that a file belongs to.
func (p *pack) owner(name string, files []string) string {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if slices.Contains(files, dir+"/go.mod") {
			return dir
		}
	}
	return "."
}

// importable returns the packages of a module that another module can import.
func (p *pack) importable(t *testing.T, mod string) []string {
	var all []string
	for line := range strings.Lines(command(t, filepath.Join(top, p.folders[mod]), nil, "go", "list", "-f", `{{if .GoFiles}}{{.Name}} {{.ImportPath}}{{end}}`, "./...")) {
		if name, pkg, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "main" && !strings.Contains(pkg, "/internal/") {
			all = append(all, pkg)
		}
	}
	return all
}

// file is a file in a module's archive.
type file struct{ name, path string }

func (f file) Path() string                 { return f.name }
func (f file) Lstat() (fs.FileInfo, error)  { return os.Lstat(f.path) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(f.path) }

// top is the repository's folder.
var top = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

// tracked returns the files that `git add -A` and a commit would put into the repository.
func tracked() ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
	cmd.Dir = top
	out, err := cmd.Output()
	files := strings.Split(strings.Trim(string(out), "\x00"), "\x00")
	return slices.DeleteFunc(files, func(name string) bool {
		_, err := os.Lstat(filepath.Join(top, name))
		return err != nil // deleted
	}), err
}

// user is a new module that uses the library, as a user's would.
type user struct {
	*pack
	t   *testing.T
	dir string
	env []string
}

func newUser(t *testing.T) *user {
	p, err := packed()
	require.NoError(t, err)
	u := &user{pack: p, t: t, dir: t.TempDir()}
	// With "direct", Go would ask the host of each module that the proxies do not have.
	proxies := strings.NewReplacer(",direct", "", "|direct", "").Replace(strings.TrimSpace(command(t, u.dir, nil, "go", "env", "GOPROXY")))
	u.env = []string{
		"GOPROXY=file://" + filepath.ToSlash(p.dir) + "," + proxies,
		"GONOSUMDB=" + root,
		"GOFLAGS=-mod=mod -modcacherw -buildvcs=false" + moreFlags,
		"GOWORK=off",
	}
	u.run("go", "mod", "init", "example.com/user")
	return u
}

func (u *user) write(name, text string) {
	require.NoError(u.t, os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o644))
}

func (u *user) run(args ...string) string {
	u.t.Helper()
	return command(u.t, u.dir, u.env, args...)
}

// get runs go get with a module's path, and checks the versions of that module and of the library.
func (u *user) get(mod string) {
	u.t.Helper()
	u.run("go", "get", mod)
	require.Equal(u.t, u.version, strings.TrimSpace(u.run("go", "list", "-m", "-f", "{{.Version}}", mod)))
	require.Equal(u.t, u.version, strings.TrimSpace(u.run("go", "list", "-m", "-f", "{{.Version}}", root)), "the version of the library that %s brings", mod)
}

// imports writes a program that imports these packages and does nothing.
func (u *user) imports(pkgs []string) {
	text := "package main\n\nimport (\n"
	for _, pkg := range pkgs {
		text += fmt.Sprintf("\t_ %q\n", pkg)
	}
	u.write("main.go", text+")\n\nfunc main() {}\n")
}

// compiled returns the modules of other projects whose code is in the program.
func (u *user) compiled() []string {
	var mods []string
	for line := range strings.Lines(u.run("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")) {
		line = strings.TrimSpace(line)
		if line != "" && line != "example.com/user" && line != root && !strings.HasPrefix(line, root+"/") {
			mods = append(mods, line)
		}
	}
	slices.Sort(mods)
	return slices.Compact(mods)
}

// try is like run, for a command that may fail. It returns the output.
func (u *user) try(args ...string) (said string, failed bool) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = u.dir, append(os.Environ(), u.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

func command(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s%s", strings.Join(args, " "), out, stderr.Bytes())
	return string(out)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if p, err := packed(); err == nil {
		p.remove()
	}
	os.Exit(code)
}

// remove removes the proxy's modules from the module cache, and the proxy.
func (p *pack) remove() {
	out, err := exec.Command("go", "env", "-json", "GOMODCACHE").Output()
	var env struct{ GOMODCACHE string }
	if err != nil || json.Unmarshal(out, &env) != nil {
		return
	}
	for mod := range p.folders {
		os.RemoveAll(filepath.Join(env.GOMODCACHE, mod+"@"+p.version))
		versions := filepath.Join(env.GOMODCACHE, "cache/download", mod, "@v")
		cached, _ := filepath.Glob(filepath.Join(versions, p.version+".*"))
		for _, name := range append(cached, filepath.Join(versions, "list")) {
			os.Remove(name) // Go makes the list again
		}
		for _, dir := range []string{versions, filepath.Join(env.GOMODCACHE, path.Dir(mod))} {
			for os.Remove(dir) == nil { // if it is empty
				dir = filepath.Dir(dir)
			}
		}
	}
	os.RemoveAll(p.dir)
}
