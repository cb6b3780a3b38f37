//! The hash chain: what makes a row that was edited, removed or moved visible.
//!
//! `docs/audit.md` gives the canonical form so that anybody can compute it with other tools.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

/// The newest row of a chain, or the place before its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The row's number; rows count from 1.
    pub seq: i64,
    /// The row's hash.
    pub hash: Hash,
}

/// The key of the chain, as it stands in `PERISCOPE_AUDIT_KEY`. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditKey(Vec<u8>);

/// How rows are hashed.
#[derive(Clone)]
pub(super) enum Hasher {
    Plain,
    Keyed { mac: Box<Hmac<Sha256>>, id: String },
}

/// Not a `SEQ:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a head is SEQ:HASH, as it stands in an audit.head line: a number and 64 hexadecimal digits"
)]
pub struct BadHead;

/// In front of everything that is hashed: another form would get another name.
const FORM: &str = "periscope-audit-1";

impl Hash {
    /// What the first row of all follows.
    pub(super) const NONE: Self = Self([0; 32]);

    /// The digest of a row's body.
    pub(super) fn of_body(body: &str) -> Self {
        Self(Sha256::digest(body.as_bytes()).into())
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Head {
    /// Where a chain begins.
    pub(super) const START: Self = Self {
        seq: 0,
        hash: Hash::NONE,
    };
}

impl AuditKey {
    /// The key as it is given: its bytes are the key.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl Hasher {
    pub(super) fn new(key: Option<&AuditKey>) -> Self {
        // HMAC takes a key of any length.
        match key.and_then(|key| Hmac::<Sha256>::new_from_slice(&key.0).ok()) {
            None => Self::Plain,
            Some(mac) => {
                let mut id = mac.clone();
                id.update(FORM.as_bytes());
                id.update(b" key id\n");
                let id: [u8; 32] = id.finalize().into_bytes().into();
                // Enough to tell keys apart.
                let id = Hash(id).to_string().chars().take(16).collect();
                Self::Keyed {
                    mac: Box::new(mac),
                    id,
                }
            }
        }
    }

    /// Names the key without telling it; none for a chain without one.
    pub(super) fn key_id(&self) -> Option<&str> {
        match self {
            Self::Plain => None,
            Self::Keyed { id, .. } => Some(id),
        }
    }

    /// The hash of a row.
    pub(super) fn hash(&self, seq: i64, verb: &str, digest: &Hash, before: &Hash) -> Hash {
        let text = format!("{FORM}\n{seq}\n{verb}\n{digest}\n{before}\n");
        Hash(match self {
            Self::Plain => Sha256::digest(text.as_bytes()).into(),
            Self::Keyed { mac, .. } => {
                let mut mac = (**mac).clone();
                mac.update(text.as_bytes());
                mac.finalize().into_bytes().into()
            }
        })
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (seq, hash) = text.split_once(':').ok_or(BadHead)?;
        let is_hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !seq.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadHead);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = hash.get(index * 2..index * 2 + 2).ok_or(BadHead)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| BadHead)?;
        }
        match seq.parse() {
            Ok(seq @ 1..) => Ok(Self {
                seq,
                hash: Hash(bytes),
            }),
            _ => Err(BadHead),
        }
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.key_id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with other tools:
    /// `printf 'periscope-audit-1\n1\na.verb\n%s\n%064d\n' "$(printf '{}' | sha256sum | cut -c-64)" 0`,
    /// then `sha256sum`, and `openssl dgst -sha256 -hmac secret`.
    #[test]
    fn the_canonical_form_is_the_documented_one() {
        let digest = Hash::of_body("{}");
        let plain = Hasher::new(None).hash(1, "a.verb", &digest, &Hash::NONE);
        assert_eq!(
            plain.to_string(),
            "c7032f420f193a43df37210e7441299fdd1e58fddecbe1f048dbef338fba2911"
        );
        let key = AuditKey::new("secret");
        let keyed = Hasher::new(Some(&key)).hash(1, "a.verb", &digest, &Hash::NONE);
        assert_eq!(
            keyed.to_string(),
            "5be357662227d467bd90aa819af0e66ecc103c17926afaa86d9519e775a57015"
        );
    }

    #[test]
    fn a_key_has_a_name_that_does_not_tell_it() {
        let ids = ["a", "b"].map(|key| {
            let hasher = Hasher::new(Some(&AuditKey::new(key)));
            hasher.key_id().unwrap().to_owned()
        });
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0].len(), 16);
        assert_eq!(format!("{:?}", AuditKey::new("tell")), "[redacted]");
        assert!(!format!("{:?}", Hasher::new(Some(&AuditKey::new("tell")))).contains("tell"));
    }

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let hash = Hash::of_body("x");
        let head = Head { seq: 7, hash };
        assert_eq!(format!("7:{hash}").parse(), Ok(head));
        assert_eq!(
            format!("7:{}", hash.to_string().to_uppercase()).parse(),
            Ok(head)
        );
        for bad in [
            "",
            "7",
            "7:",
            &format!(":{hash}"),
            &format!("0:{hash}"),
            &format!("-7:{hash}"),
            &format!("+7:{hash}"),
            &format!("7:{hash}0"),
            &format!("99999999999999999999:{hash}"),
            &format!("7:{}é", "0".repeat(62)),
        ] {
            assert_eq!(bad.parse::<Head>(), Err(BadHead), "{bad}");
        }
    }
}
