package main

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upgradeproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apimachinery/pkg/version"
	translatorproxy "k8s.io/apiserver/pkg/util/proxy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// apiserver is the front: authentication, the few objects a gateway asks for, and exec. What
// happens to the connection is done by the apiserver's own proxies; what stands here is the code
// around them that decides which one gets it.
type apiserver struct {
	runtime    *containerRuntime
	token      string
	translates bool
}

func (a *apiserver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", a.version)
	mux.HandleFunc("GET /api/v1/namespaces", a.listNamespaces)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods", a.listPods)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{pod}", a.getPod)
	mux.HandleFunc("/api/v1/namespaces/{namespace}/pods/{pod}/exec", a.exec)
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", a.review)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, true))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		given, isBearer := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if !isBearer || subtle.ConstantTimeCompare([]byte(given), []byte(a.token)) != 1 {
			writeError(w, apierrors.NewUnauthorized("Unauthorized"))
			return
		}
		if req.Header.Get("Impersonate-Group") != "" && req.Header.Get("Impersonate-User") == "" {
			writeError(w, apierrors.NewBadRequest("requested groups without impersonating a user"))
			return
		}
		// The apiserver passes neither on to a node.
		req.Header.Del("Authorization")
		for name := range req.Header {
			if strings.HasPrefix(name, "Impersonate-") {
				req.Header.Del(name)
			}
		}
		mux.ServeHTTP(w, req)
	})
}

func (a *apiserver) version(w http.ResponseWriter, _ *http.Request) {
	info := version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.2", Platform: "linux/amd64"}
	if !a.translates {
		info.Minor, info.GitVersion = "28", "v1.28.15"
	}
	writeJSON(w, http.StatusOK, info)
}

func (a *apiserver) listNamespaces(w http.ResponseWriter, _ *http.Request) {
	item := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	writeJSON(w, http.StatusOK, corev1.NamespaceList{
		TypeMeta: metav1.TypeMeta{Kind: "NamespaceList", APIVersion: "v1"},
		Items:    []corev1.Namespace{item},
	})
}

func (a *apiserver) listPods(w http.ResponseWriter, req *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	if req.PathValue("namespace") == namespace {
		for _, pod := range pods {
			list.Items = append(list.Items, *pod.DeepCopy())
		}
	}
	writeJSON(w, http.StatusOK, list)
}

func (a *apiserver) getPod(w http.ResponseWriter, req *http.Request) {
	pod, err := findPod(req.PathValue("namespace"), req.PathValue("pod"))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, pod)
}

// review knows one rule: nobody may exec into the pod `forbidden`, if it is named.
func (a *apiserver) review(w http.ResponseWriter, req *http.Request) {
	var review authorizationv1.SelfSubjectAccessReview
	body := http.MaxBytesReader(w, req.Body, 1<<20)
	if err := json.NewDecoder(body).Decode(&review); err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	asked := review.Spec.ResourceAttributes
	if asked == nil {
		writeError(w, apierrors.NewBadRequest("resourceAttributes are missing"))
		return
	}
	review.TypeMeta = metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"}
	review.Status.Allowed = asked.Name != forbiddenPod
	writeJSON(w, http.StatusCreated, review)
}

// exec does what the apiserver does between authorization and the node.
func (a *apiserver) exec(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("pod")
	verb := map[string]string{http.MethodGet: "get", http.MethodPost: "create"}[req.Method]
	if verb == "" {
		writeError(w, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods/exec"}, req.Method))
		return
	}
	if name == forbiddenPod {
		why := fmt.Errorf("User %q cannot %s resource \"pods/exec\" in API group \"\" in the namespace %q", "interop", verb, namespace)
		writeError(w, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, name, why))
		return
	}
	pod, err := findPod(req.PathValue("namespace"), name)
	if err != nil {
		writeError(w, err)
		return
	}
	options, err := execOptions(req.URL.Query())
	if err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	container, err := chooseContainer(pod, options.Container)
	if err != nil {
		writeError(w, err)
		return
	}
	// The kubelet's part: a terminal has no stderr of its own, and the runtime hands out an
	// address that works once.
	answer, err := a.runtime.server.GetExec(&runtimeapi.ExecRequest{
		ContainerId: pod.Name + "/" + container,
		Cmd:         options.Command,
		Tty:         options.TTY,
		Stdin:       options.Stdin,
		Stdout:      options.Stdout,
		Stderr:      options.Stderr && !options.TTY,
	})
	if err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	location, err := url.Parse(answer.Url)
	if err != nil {
		writeError(w, apierrors.NewInternalError(err))
		return
	}
	var handler http.Handler = upgradeproxy.NewUpgradeAwareHandler(location, nil, false, true, responder{})
	if a.translates {
		translator := translatorproxy.NewStreamTranslatorHandler(location, nil, 0, translatorproxy.Options{
			Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr, Tty: options.TTY,
		})
		handler = translatorproxy.NewTranslatingHandler(handler, translator, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
	}
	handler.ServeHTTP(w, req)
}

// execOptions reads the query with the apiserver's conversions.
func execOptions(query url.Values) (corev1.PodExecOptions, error) {
	options := corev1.PodExecOptions{Container: query.Get("container"), Command: query["command"]}
	for name, field := range map[string]*bool{
		"stdin": &options.Stdin, "stdout": &options.Stdout, "stderr": &options.Stderr, "tty": &options.TTY,
	} {
		values := query[name]
		if err := runtime.Convert_Slice_string_To_bool(&values, field, nil); err != nil {
			return options, err
		}
	}
	return options, nil
}

// chooseContainer follows the apiserver, which knows nothing of annotations.
func chooseContainer(pod *corev1.Pod, asked string) (string, error) {
	if asked == "" && len(pod.Spec.Containers) == 1 {
		return pod.Spec.Containers[0].Name, nil
	}
	names := make([]string, 0, len(pod.Spec.Containers))
	for _, container := range pod.Spec.Containers {
		if container.Name == asked {
			return asked, nil
		}
		names = append(names, container.Name)
	}
	if asked == "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf(
			"a container name must be specified for pod %s, choose one of: %v", pod.Name, names))
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", asked, pod.Name))
}

// responder answers what goes wrong before a connection is handed over.
type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) { writeError(w, err) }

// writeError sends a Status; what is none becomes an InternalError, as in the apiserver.
func writeError(w http.ResponseWriter, err error) {
	status, isStatus := err.(apierrors.APIStatus)
	if !isStatus {
		status = apierrors.NewInternalError(err)
	}
	body := status.Status()
	body.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	writeJSON(w, int(body.Code), body)
}

func writeJSON(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}
