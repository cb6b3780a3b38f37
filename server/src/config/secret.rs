//! A secret of the configuration.

use std::fmt;
use std::path::Path;

use super::Files;
use super::environment::Environment;
use super::findings::{Fault, Findings};
use super::place::{Place, Setting};

/// A secret that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that uses it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Schemes of older installations that this program does not fetch.
const REFUSED_SCHEMES: [(&str, &str); 2] = [
    (
        "aws-secretsmanager://",
        "secrets are not fetched from AWS Secrets Manager",
    ),
    (
        "aws-ssm://",
        "secrets are not fetched from the AWS Parameter Store",
    ),
];

/// Resolves what a key says about a secret: `${NAME}`, `file://PATH`, or the secret itself.
pub(super) fn resolve(
    text: &Setting<String>,
    place: &Place,
    environment: &Environment,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Setting<SecretText>> {
    let given = text.value.as_str();
    let refuse = |what: String, findings: &mut Findings| {
        findings.error(Fault::Refused {
            place: place.clone(),
            what,
        });
        None
    };
    if let Some(name) = given
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
    {
        return match environment.get(name) {
            Some(secret) => Some(Setting {
                value: SecretText::new(secret),
                origin: text.origin.clone(),
            }),
            None => refuse(
                format!("the environment variable {name:?} it names is not set"),
                findings,
            ),
        };
    }
    if let Some(path) = given.strip_prefix("file://") {
        return match files.read(Path::new(path)) {
            Ok(secret) if !secret.trim().is_empty() => Some(Setting {
                value: SecretText::new(secret.trim()),
                origin: text.origin.clone(),
            }),
            Ok(_) => refuse(format!("the file {path} is empty"), findings),
            Err(error) => {
                findings.error(Fault::Unreadable {
                    place: place.clone(),
                    path: path.to_owned(),
                    reason: error.to_string(),
                });
                None
            }
        };
    }
    for (scheme, what) in REFUSED_SCHEMES {
        if given.starts_with(scheme) {
            let hint = format!(
                "{what}; put the secret into a Kubernetes Secret (an external-secrets operator can keep it in step) and name it as ${{VARIABLE}} or file://PATH"
            );
            return refuse(hint, findings);
        }
    }
    if given.contains("://") || given.contains("${") {
        let what = "a secret is given as ${VARIABLE} or as file://PATH".to_owned();
        return refuse(what, findings);
    }
    findings.note(
        place,
        "the secret stands in the file in clear; ${VARIABLE} or file://PATH keeps it out",
    );
    Some(text.clone().map(SecretText::new))
}
