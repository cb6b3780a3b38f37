package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
)

// serve runs the endpoint until stdin ends: whoever started it is gone then, or wants it to go.
func serve(arguments []string) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	dir := flags.String("dir", "", "the folder of the kubeconfig that is written")
	untranslated := flags.Bool("untranslated", false,
		"hand every WebSocket on to the runtime, as apiservers before 1.30 do: v5 is refused, v4 works")
	if err := flags.Parse(arguments); err != nil {
		return 2
	}
	if *dir == "" || flags.NArg() != 0 {
		return fail(2, "serve wants --dir DIR and nothing else")
	}

	processes := newProcesses()
	runtime, err := startRuntime(processes)
	if err != nil {
		return fail(1, "the container runtime's server: %v", err)
	}
	certificate, authority, err := selfSigned()
	if err != nil {
		return fail(1, "the certificate: %v", err)
	}
	token := make([]byte, 32)
	if _, err := rand.Read(token); err != nil {
		return fail(1, "a token: %v", err)
	}
	apiserver := &apiserver{runtime: runtime, token: hex.EncodeToString(token), translates: !*untranslated}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(1, "%v", err)
	}
	server := &http.Server{
		Handler:   apiserver.handler(),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		// A client that leaves in the middle of a handshake is every second test here.
		ErrorLog: log.New(io.Discard, "", 0),
		// As long as a real apiserver waits for a request's head.
		ReadHeaderTimeout: 32 * time.Second,
	}
	url := "https://" + listener.Addr().String()
	if err := writeKubeconfig(*dir, url, apiserver.token, authority); err != nil {
		return fail(1, "the kubeconfig: %v", err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.ServeTLS(listener, "", "") }()
	fmt.Println("ready", url)

	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err := <-stopped:
		processes.kill()
		return fail(1, "%v", err)
	case <-ended:
	}
	_ = server.Close()
	processes.kill()
	_ = os.Remove(filepath.Join(*dir, kubeconfigName))
	return 0
}

// kubeconfigName is the file in --dir.
const kubeconfigName = "kubeconfig"

// selfSigned makes a certificate for 127.0.0.1 and returns it with its authority in PEM.
func selfSigned() (tls.Certificate, []byte, error) {
	chain, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	// The authority is the last of the chain.
	last := certificate.Certificate[len(certificate.Certificate)-1]
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last}), nil
}

func writeKubeconfig(dir, url, token string, authority []byte) error {
	const name = "interop"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: authority}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	config.CurrentContext = name
	// The file is written with mode 0600.
	return clientcmd.WriteToFile(*config, filepath.Join(dir, kubeconfigName))
}
