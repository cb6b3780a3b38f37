package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// manifests reads YAML documents from stdin, decodes each into Kubernetes' own type so that a field
// the type does not have, or has twice, is an error, and prints them as JSON, one object a line.
func manifests() int {
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	code := 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return code
		}
		if err != nil {
			return fail(1, "%v", err)
		}
		if isEmpty(string(document)) {
			continue
		}
		if err := printManifest(strict, document); err != nil {
			code = fail(1, "%v", err)
		}
	}
}

// isEmpty says whether a document is nothing but comments, as Helm leaves them behind.
func isEmpty(document string) bool {
	for _, line := range strings.Split(document, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

func printManifest(strict runtime.Decoder, document []byte) error {
	object, kind, err := strict.Decode(document, nil, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(kind, document), err)
	}
	line, err := json.Marshal(object)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return nil
}

func nameOf(kind *schema.GroupVersionKind, document []byte) string {
	if kind != nil {
		return kind.String()
	}
	first, _, _ := strings.Cut(string(document), "\n")
	return first
}
