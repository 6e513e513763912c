// Unpacks the CPython that a Go module carries into a folder: a newer one than the distribution's, which the newest Django asks for.
package main

import (
	"log"
	"os"

	"github.com/kluctl/go-embed-python/python"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: python FOLDER")
	}
	if _, err := python.NewEmbeddedPythonWithTmpDir(os.Args[1], false); err != nil {
		log.Fatal(err)
	}
}
