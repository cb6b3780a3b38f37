package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// refused is the exit code for everything that is not the remote command's own. The words are on
// stderr, so that a command's own 255 is told apart from it.
const refused = 255

// exec runs one command through client-go's own executors, and leaves with its exit code.
func exec(arguments []string) int {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "the kubeconfig")
	kubeContext := flags.String("context", "", "a context other than the current one")
	transport := flags.String("transport", "fallback", "websocket, spdy, or fallback: first one, then the other")
	inNamespace := flags.String("namespace", "default", "the pod's namespace")
	container := flags.String("container", "", "the container, where the pod has more than one")
	asUser := flags.String("as", "", "the user to impersonate")
	asGroup := flags.String("as-group", "", "the group to impersonate")
	stdin := flags.Bool("stdin", false, "pass this program's stdin on")
	tty := flags.Bool("tty", false, "ask for a terminal")
	sizes := flags.String("sizes", "", "the terminal's sizes, 80x24,132x43: the first at once, each other after a line `resize` in the output")
	digest := flags.Bool("digest", false, "print the SHA-256 and the length of stdout instead of stdout")
	if err := flags.Parse(arguments); err != nil {
		return 2
	}
	rest := flags.Args()
	if len(rest) > 1 && rest[1] == "--" {
		rest = append(rest[:1], rest[2:]...)
	}
	if len(rest) < 2 {
		return fail(2, "exec wants POD -- COMMAND...")
	}
	queue, err := parseSizes(*sizes)
	if err != nil {
		return fail(2, "--sizes: %v", err)
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: *kubeContext}
	overrides.AuthInfo.Impersonate = *asUser
	if *asGroup != "" {
		overrides.AuthInfo.ImpersonateGroups = []string{*asGroup}
	}
	executor, err := newExecutor(*kubeconfig, overrides, *transport, *inNamespace, rest[0], &corev1.PodExecOptions{
		Container: *container, Command: rest[1:], Stdin: *stdin, Stdout: true, Stderr: !*tty, TTY: *tty,
	})
	if err != nil {
		return fail(2, "%v", err)
	}
	output := &output{queue: queue}
	if *digest {
		output.digest = sha256.New()
	}
	options := remotecommand.StreamOptions{Stdout: output, Tty: *tty}
	if *stdin {
		options.Stdin = os.Stdin
	}
	if *tty {
		options.TerminalSizeQueue = queue
	} else {
		options.Stderr = os.Stderr
	}
	err = executor.StreamWithContext(context.Background(), options)
	if *digest {
		fmt.Printf("%s %d\n", hex.EncodeToString(output.digest.Sum(nil)), output.len)
	}
	var exit clientexec.CodeExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	default:
		return fail(refused, "%v", err)
	}
}

// newExecutor makes the executor that kubectl would, or one half of it.
func newExecutor(kubeconfig string, overrides *clientcmd.ConfigOverrides, transport, inNamespace, pod string, options *corev1.PodExecOptions) (remotecommand.Executor, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.APIPath = "/api"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	url := client.Post().Resource("pods").Namespace(inNamespace).Name(pod).SubResource("exec").
		VersionedParams(options, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if err != nil {
		return nil, err
	}
	// A WebSocket handshake is a GET.
	websocket, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	switch transport {
	case "spdy":
		return spdy, nil
	case "websocket":
		return websocket, nil
	case "fallback":
		return remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		})
	default:
		return nil, fmt.Errorf("--transport %s is none of websocket, spdy, fallback", transport)
	}
}

// output takes what the command writes, and turns the window when the command asks for it.
type output struct {
	queue  *sizes
	digest hash.Hash
	len    int64
	line   []byte
}

func (o *output) Write(payload []byte) (int, error) {
	o.len += int64(len(payload))
	if o.queue.waits() {
		o.line = append(o.line, payload...)
		for {
			line, rest, found := strings.Cut(string(o.line), "\n")
			if !found {
				break
			}
			if strings.TrimSpace(line) == "resize" {
				o.queue.turn()
			}
			o.line = []byte(rest)
		}
	}
	if o.digest != nil {
		return o.digest.Write(payload)
	}
	return os.Stdout.Write(payload)
}

// sizes is the terminal's window: one size at once, the others as `turn` is called.
type sizes struct {
	all     []remotecommand.TerminalSize
	waiting int
	turns   chan remotecommand.TerminalSize
}

func parseSizes(text string) (*sizes, error) {
	queue := &sizes{}
	for _, part := range strings.Split(text, ",") {
		if part == "" {
			continue
		}
		cols, rows, found := strings.Cut(part, "x")
		width, err := strconv.ParseUint(cols, 10, 16)
		if err != nil || !found {
			return nil, fmt.Errorf("%q is no COLSxROWS", part)
		}
		height, err := strconv.ParseUint(rows, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no COLSxROWS", part)
		}
		queue.all = append(queue.all, remotecommand.TerminalSize{Width: uint16(width), Height: uint16(height)})
	}
	queue.turns = make(chan remotecommand.TerminalSize, len(queue.all)+1)
	queue.turn()
	return queue, nil
}

// turn gives the next size out, if there is one. Only the writer of the output calls it.
func (s *sizes) turn() {
	if s.waiting < len(s.all) {
		s.turns <- s.all[s.waiting]
		s.waiting++
	}
}

func (s *sizes) waits() bool { return s.waiting < len(s.all) }

// Next is asked by the executor, and waits as long as nothing changes.
func (s *sizes) Next() *remotecommand.TerminalSize {
	size := <-s.turns
	return &size
}
