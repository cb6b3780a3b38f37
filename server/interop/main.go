// Command interop holds periscope against Kubernetes' own code: an exec endpoint made of the
// apiserver's and the container runtimes' modules, an exec client made of client-go's, and a reader of
// manifests that knows every field.
package main

import (
	"fmt"
	"os"
)

const usage = `usage:
  interop serve --dir DIR [--untranslated]   an exec endpoint; ends when its stdin does
  interop exec --kubeconfig FILE [options] POD -- COMMAND...
  interop manifests                          YAML on stdin, decoded strictly, as JSON on stdout
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	arguments := os.Args[2:]
	switch os.Args[1] {
	case "serve":
		os.Exit(serve(arguments))
	case "exec":
		os.Exit(exec(arguments))
	case "manifests":
		os.Exit(manifests())
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

// fail says why on stderr; the exit code is for the caller to return.
func fail(code int, format string, values ...any) int {
	fmt.Fprintf(os.Stderr, "interop: "+format+"\n", values...)
	return code
}
