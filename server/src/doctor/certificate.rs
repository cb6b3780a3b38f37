//! What a certificate says of itself.

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::text::{list, relative, shown};

/// How long before its end a certificate is worth a word, in seconds: two weeks.
const SOON_SECONDS: i64 = 14 * 86_400;

/// The facts of a certificate that help somebody who looks for a fault. Its names are a peer's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    subject: String,
    issuer: String,
    names: Vec<String>,
    /// When it ends; none beyond what a timestamp can say.
    ends: Option<Timestamp>,
}

impl Facts {
    /// Reads DER; none if it is no certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let inner = certificate.tbs_certificate();
        let ends = inner.validity().not_after.to_unix_duration().as_secs();
        let names = inner.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        Some(Self {
            subject: inner.subject().to_string(),
            issuer: inner.issuer().to_string(),
            names: names.iter().filter_map(name).collect(),
            ends: i64::try_from(ends)
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        })
    }

    /// Who signed it, and until when it is good.
    pub(super) fn summary(&self, now: Timestamp) -> String {
        format!("certificate of {}, {}", shown(&self.issuer), self.end(now))
    }

    /// The same with whom it is for.
    pub(super) fn whole(&self, now: Timestamp) -> String {
        format!(
            "it was issued by {} to {}, for the names {}, and {}",
            quoted(&self.issuer),
            quoted(&self.subject),
            if self.names.is_empty() {
                "(none)".to_owned()
            } else {
                list(self.names.iter().map(String::as_str))
            },
            self.end(now),
        )
    }

    fn end(&self, now: Timestamp) -> String {
        match self.ends {
            None => "without an end".to_owned(),
            Some(ends) => {
                let day = ends.strftime("%Y-%m-%d");
                let verb = if ends < now { "expired" } else { "expires" };
                format!("{verb} {day} ({})", relative(ends, now))
            }
        }
    }

    /// A warning, if it ends soon or has ended.
    pub(super) fn ends_soon(&self, whose: &str, now: Timestamp) -> Option<String> {
        let ends = self.ends?;
        let left = ends.as_second().saturating_sub(now.as_second());
        (left < SOON_SECONDS).then(|| {
            let verb = if left < 0 { "has expired" } else { "expires" };
            format!("{whose} {verb} {}", relative(ends, now))
        })
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        "(nobody)".to_owned()
    } else {
        format!("\"{}\"", shown(text))
    }
}

/// A name as people write it.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 =
                <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
            let v6 = <[u8; 16]>::try_from(bytes)
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string());
            v4.or(v6).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_issuer_names_and_end() {
        let names = vec!["api.example".to_owned(), "10.0.0.1".to_owned()];
        let mut wanted = rcgen::CertificateParams::new(names).unwrap();
        wanted.not_after = rcgen::date_time_ymd(2040, 1, 2);
        wanted.distinguished_name = rcgen::DistinguishedName::new();
        let common_name = rcgen::DnType::CommonName;
        wanted
            .distinguished_name
            .push(common_name, "the\u{1b}[31m apiserver");
        let key = rcgen::KeyPair::generate().unwrap();
        let made = wanted.self_signed(&key).unwrap();
        let facts = Facts::read(made.der()).unwrap();
        let now: Timestamp = "2039-12-31T00:00:00Z".parse().unwrap();
        let whole = facts.whole(now);
        assert!(
            whole.contains("api.example, 10.0.0.1")
                && whole.contains("expires 2040-01-02 (in 2 days)"),
            "{whole}"
        );
        assert!(
            !whole.contains('\u{1b}') && whole.contains("apiserver"),
            "{whole}"
        );
        assert!(facts.summary(now).contains("apiserver"));
        let soon = facts.ends_soon("it", now).unwrap();
        assert_eq!(soon, "it expires in 2 days");
        let before: Timestamp = "2039-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(facts.ends_soon("it", before), None);
        let after: Timestamp = "2040-01-03T00:00:00Z".parse().unwrap();
        assert_eq!(
            facts.ends_soon("it", after).unwrap(),
            "it has expired 24 hours ago"
        );
        assert_eq!(Facts::read(b"no certificate"), None);
    }
}
