package affinity

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// SaveFile writes a snapshot, see [Affinity.Save], to a file that only its owner may read
// (mode 0600). Even if the process or the machine stops, the file has the whole old snapshot
// or the whole new one. For that the snapshot is written to a temporary file in the same
// directory, which is synced and then renamed. After an error the old snapshot is still there.
// If the name is a symbolic link, all of this happens where the link leads, and the link stays.
//
// A temporary file is named after the file, with a dot before the name and .tmp at its end.
// SaveFile also removes those that killed processes have left, when they are a minute old. So
// use a directory in which no other program has files of such names. If several processes call
// SaveFile for one name, the file is not damaged, but the last one wins.
func (a *Affinity[T]) SaveFile(name string) error {
	name, err := destination(name)
	if err == nil {
		removeLeft(name)
		err = writeFile(name, a)
	}
	if err != nil {
		return fmt.Errorf("affinity: saving to a file: %w", err)
	}
	return nil
}

// mostLinks bounds the links from one to the next, which can be a circle.
const mostLinks = 40

// destination returns the file to which a name leads over symbolic links. The file need not be
// there. What is there must be a regular file, because a rename would replace it.
func destination(name string) (string, error) {
	for range mostLinks {
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			return name, nil // there is nothing, or writing will say why not
		case info.Mode().IsRegular():
			return name, nil
		case info.Mode().Type() != fs.ModeSymlink:
			return "", &fs.PathError{Op: "write", Path: name, Err: errors.New("not a regular file")}
		}
		to, err := os.Readlink(name)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) { // it is relative to the directory of the link, which can be a link, too
			dir, err := filepath.EvalSymlinks(filepath.Dir(name))
			if err != nil {
				return "", err
			}
			to = filepath.Join(dir, to)
		}
		name = to
	}
	return "", &fs.PathError{Op: "write", Path: name, Err: errors.New("too many symbolic links")}
}

// LoadFile loads a snapshot that SaveFile has written, see [Affinity.Load]. If there is no
// file, as before the first SaveFile, the error is fs.ErrNotExist. LoadFile does not change
// the file. If the snapshot cannot be loaded and you want to examine it, rename the file
// before the next SaveFile.
func (a *Affinity[T]) LoadFile(name string) error {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() { // a pipe would block
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return fmt.Errorf("affinity: loading a file: %w", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("affinity: loading a file: %w", err)
	}
	defer f.Close()
	return a.load(bufio.NewReaderSize(f, 64<<10), true)
}

// writeFile saves from to a file, completely or not at all.
func writeFile[T any](name string, from *Affinity[T]) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), temporary(name, "*")) // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err = from.Save(f); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(name))
}

// syncDirectory makes a rename durable. Windows does that by itself, and cannot open a
// directory.
func syncDirectory(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// temporary returns the name of a temporary file.
func temporary(name, random string) string {
	return "." + filepath.Base(name) + "." + random + ".tmp"
}

// leftAfter is the age after which a temporary file is no longer being written, because
// writing changes its time.
const leftAfter = time.Minute

// removeLeft removes temporary files that were left behind.
func removeLeft(name string) {
	dir := filepath.Dir(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // writing will say so
	}
	before, behind, _ := strings.Cut(temporary(name, "\x00"), "\x00")
	for _, e := range entries {
		random, first := strings.CutPrefix(e.Name(), before)
		random, last := strings.CutSuffix(random, behind)
		if !first || !last || strings.Trim(random, "0123456789") != "" || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > leftAfter {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
