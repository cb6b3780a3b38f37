package main

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

const (
	namespace = "default"
	// boxPod runs every command as a process of this machine.
	boxPod = "box"
	// shelllessPod has no executable at all.
	shelllessPod = "noshell"
	// forbiddenPod may be looked at, but nobody may exec into it.
	forbiddenPod = "forbidden"
	// pairPod has two containers, of which a caller has to name one.
	pairPod = "pair"
)

var pods = []*corev1.Pod{
	newPod(boxPod, "box"),
	newPod(shelllessPod, "noshell"),
	newPod(forbiddenPod, "forbidden"),
	newPod(pairPod, "first", "second"),
}

func newPod(name string, containers ...string) *corev1.Pod {
	started := metav1.Now()
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, UID: types.UID("uid-of-" + name), CreationTimestamp: started,
		},
		Spec:   corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, container := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: container, Image: "example.test/" + container})
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container, Ready: true, Image: "example.test/" + container,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}},
		})
	}
	return pod
}

func findPod(inNamespace, name string) (*corev1.Pod, error) {
	for _, pod := range pods {
		if inNamespace == namespace && name == pod.Name {
			return pod, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
}
