// Command interop holds periscope against Kubernetes' own code: an exec endpoint made of the
// apiserver's and the container runtimes' modules, and an exec client made of client-go's.
package main

import (
	"fmt"
	"os"
)

const usage = `usage:
  interop serve --dir DIR [--untranslated]   an exec endpoint; ends when its stdin does
  interop exec --kubeconfig FILE [options] POD -- COMMAND...
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
