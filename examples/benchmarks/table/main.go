// Command table writes the results of the benchmarks into the tables of a README. It fails if there
// are no results for a table, or if a benchmark has failed.
//
//	bash run.sh >results.txt
//	go run ./table README.md <results.txt
package main

import (
	"errors"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal("table: ", err)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: table README")
	}
	res, err := read(os.Stdin)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	text, err := renew(string(old), res)
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(text), 0o666)
}
