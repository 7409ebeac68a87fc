//go:build !amd64

package jsontext

var vector, wide = false, false

func scanString(*byte, int) (pos int, state uint64) { panic("no vector scanner") }

func scanStringWide(*byte, int) (pos int, state uint64) { panic("no vector scanner") }

func scanNested(*byte, int) (pos int, state uint64, depth int) { panic("no vector scanner") }

func scanNestedWide(*byte, int) (pos int, state uint64, depth int) { panic("no vector scanner") }

func passNested(*byte, int) (pos int, state uint64, depth int) { panic("no vector scanner") }

func passNestedWide(*byte, int) (pos int, state uint64, depth int) { panic("no vector scanner") }

func markQuotes(p *byte, blocks int, escaped uint64, marks *uint64) { panic("no vector scanner") }
