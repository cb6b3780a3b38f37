//! Kubernetes name rules, checked before a name becomes part of a URL.
//!
//! Escaping does not help here: the apiserver splits the *decoded* path, so an escaped slash in a
//! "name" would turn into a real one. Only names that need no escaping are let through.

use thiserror::Error;

use crate::limits;

/// Which name of a request breaks its rule. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not a cluster name of this gateway's registry.
    #[error(
        "the cluster name must be letters, digits, '.', '_' and '-', begin with a letter or digit, and have at most 100 characters"
    )]
    Cluster,
    /// Not a DNS-1123 label.
    #[error(
        "the container name must be lower-case letters, digits and '-', begin and end with a letter or digit, and have at most 63 characters"
    )]
    Container,
    /// Not a DNS-1123 label.
    #[error(
        "the namespace must be lower-case letters, digits and '-', begin and end with a letter or digit, and have at most 63 characters"
    )]
    Namespace,
    /// Not a DNS-1123 subdomain.
    #[error(
        "the pod name must be lower-case letters, digits, '-' and '.', begin and end with a letter or digit, and have at most 253 characters"
    )]
    Pod,
}

/// Checks the name of a cluster: `[A-Za-z0-9][A-Za-z0-9._-]{0,99}`.
pub fn check_cluster(name: &str) -> Result<(), NameError> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let short = name.len() <= limits::CLUSTER_NAME_BYTES_MAX;
    if first && rest && short {
        Ok(())
    } else {
        Err(NameError::Cluster)
    }
}

/// Checks the name of a container.
pub fn check_container(name: &str) -> Result<(), NameError> {
    if is_label(name) {
        Ok(())
    } else {
        Err(NameError::Container)
    }
}

/// Checks the name of a namespace.
pub fn check_namespace(name: &str) -> Result<(), NameError> {
    if is_label(name) {
        Ok(())
    } else {
        Err(NameError::Namespace)
    }
}

/// Checks the name of a pod.
pub fn check_pod(name: &str) -> Result<(), NameError> {
    if is_subdomain(name) {
        Ok(())
    } else {
        Err(NameError::Pod)
    }
}

/// RFC 1123 §2.1 label as Kubernetes narrows it: lower case, at most 63 bytes.
pub fn is_label(name: &str) -> bool {
    name.len() <= limits::LABEL_BYTES_MAX && is_label_of_any_length(name)
}

/// RFC 1123 §2.1 subdomain as Kubernetes narrows it: at most 253 bytes in all. Kubernetes sets
/// no limit of its own for one part.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= limits::SUBDOMAIN_BYTES_MAX && name.split('.').all(is_label_of_any_length)
}

fn is_label_of_any_length(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_dns_1123_labels() {
        for good in ["a", "0", "web-0", "kube-system", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
            assert_eq!(
                (check_namespace(good), check_container(good)),
                (Ok(()), Ok(()))
            );
        }
        let long = "a".repeat(64);
        for bad in [
            "", "-a", "a-", "A", "a.b", "a_b", "a/b", "..", ".", "a%2fb", "ä", " a", "a\n", &long,
        ] {
            assert!(!is_label(bad), "{bad:?}");
            assert_eq!(check_namespace(bad), Err(NameError::Namespace));
            assert_eq!(check_container(bad), Err(NameError::Container));
        }
    }

    #[test]
    fn subdomains_are_labels_joined_by_dots() {
        let longest = "a".repeat(253);
        for good in ["a", "web-0", "web-0.default", "a.b.c", &longest] {
            assert_eq!(check_pod(good), Ok(()), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "", ".", "..", "a..b", ".a", "a.", "a.-b", "a-.b", "A.b", "a/b", "a%2e", "a b", "a\0",
            &long,
        ] {
            assert_eq!(check_pod(bad), Err(NameError::Pod), "{bad:?}");
        }
    }

    #[test]
    fn cluster_names_follow_the_registry() {
        for good in ["a", "Prod.eu_west-1", "0", &"a".repeat(100)] {
            assert_eq!(check_cluster(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "-a",
            "_a",
            ".a",
            "a/b",
            "a b",
            "a%",
            "ä",
            &"a".repeat(101),
        ] {
            assert_eq!(check_cluster(bad), Err(NameError::Cluster), "{bad:?}");
        }
    }

    #[test]
    fn every_sentence_says_the_bound_that_is_checked() {
        assert!(
            NameError::Cluster
                .to_string()
                .contains(&limits::CLUSTER_NAME_BYTES_MAX.to_string())
        );
        assert!(
            NameError::Container
                .to_string()
                .contains(&limits::LABEL_BYTES_MAX.to_string())
        );
        assert!(
            NameError::Namespace
                .to_string()
                .contains(&limits::LABEL_BYTES_MAX.to_string())
        );
        assert!(
            NameError::Pod
                .to_string()
                .contains(&limits::SUBDOMAIN_BYTES_MAX.to_string())
        );
    }

    proptest! {
        #[test]
        fn no_accepted_name_means_anything_in_a_url_path(name in "[a-zA-Z0-9./%\\\\;?#_-]{0,8}|\\PC{0,8}") {
            let accepted = is_label(&name) || is_subdomain(&name) || check_cluster(&name).is_ok();
            if accepted {
                prop_assert!(!name.contains(['/', '%', '\\', ';', '?', '#']));
                prop_assert!(name != "." && name != "..");
            }
        }
    }
}
