//! Just enough protobuf to read an access review: recent `kubectl` asks that way.

use serde_json::{Map, Value, json};

/// The first bytes of every Kubernetes object in protobuf.
const MAGIC: &[u8] = b"k8s\0";

/// Reads a `SelfSubjectAccessReview` into its JSON form. `None` if it is none.
pub(super) fn access_review(body: &[u8]) -> Option<Value> {
    const RESOURCE: [&str; 7] = [
        "namespace",
        "verb",
        "group",
        "version",
        "resource",
        "subresource",
        "name",
    ];
    let envelope = body.strip_prefix(MAGIC)?;
    // An envelope of type (1) and object (2); in the object the spec is 2.
    let object = field(envelope, 2)?;
    let spec = field(object, 2)?;
    let spec = if let Some(attributes) = field(spec, 1) {
        json!({"resourceAttributes": strings(attributes, &RESOURCE)?})
    } else {
        json!({"nonResourceAttributes": strings(field(spec, 2)?, &["path", "verb"])?})
    };
    Some(json!({"spec": spec}))
}

/// The strings numbered from 1, by their names.
fn strings(message: &[u8], names: &[&str]) -> Option<Value> {
    let mut object = Map::new();
    for (number, name) in (1..).zip(names) {
        if let Some(value) = field(message, number) {
            let value = core::str::from_utf8(value).ok()?;
            object.insert((*name).to_owned(), Value::from(value));
        }
    }
    Some(Value::Object(object))
}

/// The first length-delimited field of this number. `None` if there is none before the end, or
/// before bytes that are no protobuf.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => take(&mut message, 8)?,
            2 => {
                let len = usize::try_from(varint(&mut message)?).ok()?;
                take(&mut message, len)?
            }
            5 => take(&mut message, 4)?,
            _ => return None,
        };
        if tag == wanted << 3 | 2 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some(taken)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field `number` holding `value`, which is shorter than 128 bytes.
    fn delimited(number: u8, value: &[u8]) -> Vec<u8> {
        let len = u8::try_from(value.len()).unwrap();
        [&[number << 3 | 2, len], value].concat()
    }

    fn review() -> Vec<u8> {
        let attributes = [
            delimited(1, b"default"),
            delimited(2, b"create"),
            delimited(5, b"pods"),
            delimited(6, b"exec"),
        ];
        let spec = delimited(1, &attributes.concat());
        let object = [delimited(1, b""), delimited(2, &spec)].concat();
        [
            MAGIC,
            &delimited(1, b"type"),
            &[3 << 3, 5],
            &delimited(2, &object),
        ]
        .concat()
    }

    #[test]
    fn an_access_review_is_read_into_its_json_form() {
        let spec = json!({"resourceAttributes": {
            "namespace": "default", "verb": "create", "resource": "pods", "subresource": "exec",
        }});
        assert_eq!(access_review(&review()), Some(json!({"spec": spec})));
    }

    #[test]
    fn a_cut_or_foreign_review_is_none() {
        let review = review();
        for len in 0..review.len() {
            assert_eq!(access_review(&review[..len]), None, "{len}");
        }
        assert_eq!(access_review(b"{\"spec\":{}}"), None);
        assert_eq!(access_review(&[MAGIC, &[0xFF; 12]].concat()), None);
    }
}
