package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// containerRuntime is the streaming server that containerd and CRI-O have inside, in front of
// processes of this machine.
type containerRuntime struct {
	server streaming.Server
}

func startRuntime(processes *processes) (*containerRuntime, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.Addr = listener.Addr().String()
	config.BaseURL = &url.URL{Scheme: "http", Host: config.Addr}
	server, err := streaming.NewServer(config, processes)
	if err != nil {
		return nil, err
	}
	go func() { _ = http.Serve(listener, server) }()
	return &containerRuntime{server: server}, nil
}

// processes are the running commands, each the leader of a session of its own.
type processes struct {
	lock    sync.Mutex
	running map[int]struct{}
	closed  bool
}

func newProcesses() *processes { return &processes{running: map[int]struct{}{}} }

// kill ends whatever is left, and lets nothing start any more.
func (p *processes) kill() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.closed = true
	for leader := range p.running {
		_ = syscall.Kill(-leader, syscall.SIGKILL)
	}
}

// start runs `begin`, which starts a command, so that `kill` knows of it.
func (p *processes) start(command *osexec.Cmd, begin func() error) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.closed {
		return errors.New("the runtime is stopping")
	}
	if err := begin(); err != nil {
		return err
	}
	p.running[command.Process.Pid] = struct{}{}
	return nil
}

func (p *processes) forget(command *osexec.Cmd) {
	p.lock.Lock()
	defer p.lock.Unlock()
	delete(p.running, command.Process.Pid)
}

// Exec runs a command of a container, whose id is `pod/container`.
func (p *processes) Exec(_ context.Context, container string, argv []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	pod, _, _ := strings.Cut(container, "/")
	if len(argv) == 0 {
		return startFailure(errors.New("args must not be empty"))
	}
	program, failure := osexec.LookPath(argv[0])
	if pod == shelllessPod {
		failure = osexec.ErrNotFound
		if strings.Contains(argv[0], "/") {
			failure = os.ErrNotExist
		}
	}
	if failure != nil {
		return startFailure(missing(argv[0], failure))
	}
	command := &osexec.Cmd{Path: program, Args: argv, Env: append(os.Environ(), "TERM=xterm"), Dir: os.TempDir()}
	if tty {
		return p.onTerminal(command, in, out, resize)
	}
	return p.onPipes(command, in, out, err)
}

// onPipes lives as long as the process and whoever inherited its output, as containerd does.
func (p *processes) onPipes(command *osexec.Cmd, in io.Reader, out, err io.WriteCloser) error {
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A nil interface is /dev/null to os/exec; a stream that was not asked for is nil.
	if out != nil {
		command.Stdout = struct{ io.Writer }{out}
	}
	if err != nil {
		command.Stderr = struct{ io.Writer }{err}
	}
	var stdin io.WriteCloser
	if in != nil {
		pipe, failure := command.StdinPipe()
		if failure != nil {
			return failure
		}
		stdin = pipe
	}
	if failure := p.start(command, command.Start); failure != nil {
		return startFailure(failure)
	}
	defer p.forget(command)
	if stdin != nil {
		// Not waited for: a process may end without having read it all.
		go func() {
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
	}
	return exitOf(command, command.Wait())
}

func (p *processes) onTerminal(command *osexec.Cmd, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	var master *os.File
	begin := func() error {
		started, failure := pty.Start(command)
		master = started
		return failure
	}
	if failure := p.start(command, begin); failure != nil {
		return startFailure(failure)
	}
	defer p.forget(command)
	defer master.Close()
	go func() {
		for size := range resize {
			_ = pty.Setsize(master, &pty.Winsize{Rows: size.Height, Cols: size.Width})
		}
	}()
	if in != nil {
		go func() { _, _ = io.Copy(master, in) }()
	}
	if out == nil {
		out = io.Discard
	}
	// Ends when nobody holds the terminal any more (EIO), or the client is gone.
	_, _ = io.Copy(out, master)
	_ = master.Close()
	return exitOf(command, command.Wait())
}

// exitOf says how a process ended, a signal as a shell says it.
func exitOf(command *osexec.Cmd, failure error) error {
	state := command.ProcessState
	if state == nil {
		return failure
	}
	code := state.ExitCode()
	if waited, ok := state.Sys().(syscall.WaitStatus); ok && waited.Signaled() {
		code = 128 + int(waited.Signal())
	}
	if code == 0 {
		return nil
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
}

// missing words a program that is not there as runc does.
func missing(program string, failure error) error {
	if strings.Contains(program, "/") && errors.Is(failure, os.ErrNotExist) {
		return fmt.Errorf("exec: %q: stat %s: no such file or directory", program, program)
	}
	if strings.Contains(program, "/") {
		return fmt.Errorf("exec: %q: permission denied", program)
	}
	return fmt.Errorf("exec: %q: executable file not found in $PATH", program)
}

// startFailure words a command that never ran as containerd does: no exit code, but an error.
func startFailure(cause error) error {
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	return fmt.Errorf("failed to exec in container: failed to start exec %q: OCI runtime exec failed: exec failed: unable to start container process: %w: unknown",
		hex.EncodeToString(id), cause)
}

// Attach and PortForward are not what is tested here.
func (p *processes) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.New("attach is not served")
}

// PortForward is refused, see Attach.
func (p *processes) PortForward(context.Context, string, int32, io.ReadWriteCloser) error {
	return errors.New("port forwarding is not served")
}
