//! Bodies marked "captured" are what kube-apiserver 1.36.2 and 1.20.2 (containerd, crun) sent;
//! those marked "by hand" follow the sources of runc, CRI-O, cri-dockerd and the kubelet.
