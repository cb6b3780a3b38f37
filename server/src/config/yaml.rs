//! YAML with the line of every key: what precise errors are made of.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use super::findings::{Fault, Findings, Warning, nearest};
use super::place::{Place, Setting};

/// The largest file that is read: ten thousand clusters fit.
pub(super) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A value that stands in a file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`: as if the key were not there.
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is not a whole one, or far too large.
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

/// A table whose keys are taken one by one, so that what is left over is unknown.
#[derive(Debug)]
pub(super) struct Table<'a> {
    place: &'a Place,
    entries: &'a [(String, Node)],
    known: Vec<&'static str>,
    not_honoured: Vec<&'static str>,
}

/// Reads a file's text. Nothing in it means an empty table.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Node, Fault> {
    let options = serde_yaml::options! {
        with_snippet: false, // a snippet may show a secret
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough, // told as what it is
        strict_booleans: true, // `yes` is a word: the guess would be wrong half of the time
    };
    let top = Place::Key {
        file: Arc::clone(file),
        line: 1,
        key: String::new(),
    };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(raw.value.node(top)),
        Err(error) => {
            let line = error.location().map_or(1, |location| location.line());
            let reason = match error.without_snippet() {
                serde_yaml::Error::DuplicateMappingKey { key: Some(key), .. } => {
                    format!("the key `{key}` is there twice")
                }
                serde_yaml::Error::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
                other => {
                    let told = other.to_string();
                    let told = told.split(" at line ").next().unwrap_or_default();
                    format!("not valid YAML: {told}")
                }
            };
            let place = Place::Key {
                file: Arc::clone(file),
                line,
                key: String::new(),
            };
            Err(Fault::Syntax { place, reason })
        }
    }
}

impl Node {
    /// The value as a table; none, with an error, if it is something else. Null is an empty one.
    pub(super) fn table(&self, findings: &mut Findings) -> Option<Table<'_>> {
        let entries: &[(String, Self)] = match &self.value {
            Value::Null => &[],
            Value::Table(entries) => entries,
            _ => {
                findings.wrong(&self.place, "a table of keys and values");
                return None;
            }
        };
        Some(Table {
            place: &self.place,
            entries,
            known: Vec::new(),
            not_honoured: Vec::new(),
        })
    }

    /// The value as a list; null is an empty one.
    pub(super) fn list(&self, findings: &mut Findings) -> Option<&[Self]> {
        match &self.value {
            Value::Null => Some(&[]),
            Value::List(items) => Some(items),
            _ => {
                findings.wrong(&self.place, "a list");
                None
            }
        }
    }

    /// The value as text. A number or a boolean is not taken for one: its digits may have changed
    /// on the way (`010`), so it has to be quoted.
    pub(super) fn text(&self, findings: &mut Findings) -> Option<Setting<String>> {
        match &self.value {
            Value::Text(text) => Some(Setting::set(text.clone(), self.place.clone())),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                findings.wrong(&self.place, "text; put it in quotes");
                None
            }
            Value::Null | Value::List(_) | Value::Table(_) => {
                findings.wrong(&self.place, "text");
                None
            }
        }
    }
}

impl Value {
    /// What stands there, for a message about a number that is none.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

impl<'a> Table<'a> {
    /// Where the table stands.
    pub(super) fn place(&self) -> &'a Place {
        self.place
    }

    /// The value of a key, unless it is absent or null.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// Whether there is such a key with a value: empty text is none.
    pub(super) fn has(&self, key: &str) -> bool {
        let is_something = |value: &Value| match value {
            Value::Null => false,
            Value::Text(text) => !text.is_empty(),
            _ => true,
        };
        let mut entries = self.entries.iter();
        entries.any(|(name, node)| name == key && is_something(&node.value))
    }

    /// Text that is not empty.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Setting<String>> {
        let text = self.take(key)?.text(findings)?;
        (!text.value.is_empty()).then_some(text)
    }

    /// A list of texts.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Setting<Vec<String>>> {
        let node = self.take(key)?;
        let items = node.list(findings)?;
        let texts: Vec<_> = items
            .iter()
            .filter_map(|item| item.text(findings))
            .collect();
        let texts = texts.into_iter().map(|text| text.value).collect();
        Some(Setting::set(texts, node.place.clone()))
    }

    /// Says that a key of older installations has no effect here.
    pub(super) fn not_honoured(
        &mut self,
        key: &'static str,
        instead: &'static str,
        findings: &mut Findings,
    ) {
        self.not_honoured.push(key);
        if let Some((_, node)) = self.entries.iter().find(|(name, _)| name == key) {
            findings.warn(Warning::NotHonoured {
                place: node.place.clone(),
                instead,
            });
        }
    }

    /// Every key that was not asked for is an error.
    pub(super) fn finish(self, findings: &mut Findings) {
        for (name, node) in self.entries {
            let name = name.as_str();
            if self.known.contains(&name) || self.not_honoured.contains(&name) {
                continue;
            }
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there is {}", self.known.join(", ")),
            };
            findings.error(Fault::UnknownKey {
                place: node.place.clone(),
                hint,
            });
        }
    }
}

/// A value as the parser gives it: children know their line, but not the way to them.
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Spanned<Self>>),
    Table(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl Raw {
    fn node(self, place: Place) -> Node {
        let value = match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(value) => Value::Text(value),
            Self::List(items) => {
                let node = |(index, item): (usize, Spanned<Self>)| {
                    let line = item.referenced.line();
                    item.value.node(place.below(line, &format!("[{index}]")))
                };
                Value::List(items.into_iter().enumerate().map(node).collect())
            }
            Self::Table(entries) => {
                let entry = |(key, value): (Spanned<String>, Spanned<Self>)| {
                    let below = place.below(key.referenced.line(), &format!(".{}", key.value));
                    (key.value, value.value.node(below))
                };
                Value::Table(entries.into_iter().map(entry).collect())
            }
        };
        Node { value, place }
    }
}

impl Place {
    fn below(&self, line: u64, step: &str) -> Self {
        match self {
            Self::Variable(name) => Self::Variable(Arc::clone(name)),
            Self::Key { file, key, .. } => Self::Key {
                file: Arc::clone(file),
                line,
                key: format!("{key}{step}").trim_start_matches('.').to_owned(),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Raw::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        parse(&Arc::from("c.yaml"), text).map_err(|fault| fault.to_string())
    }

    #[test]
    fn every_key_knows_its_line_and_the_way_to_it() {
        let text = "# two\nclusters:\n  - name: a\n  - name: b\n    exec:\n      enabled: false\n";
        let top = read(text).unwrap();
        let mut findings = Findings::default();
        let clusters = top.table(&mut findings).unwrap().take("clusters").unwrap();
        let second = &clusters.list(&mut findings).unwrap()[1];
        let exec = second.table(&mut findings).unwrap().take("exec").unwrap();
        let enabled = exec.table(&mut findings).unwrap().take("enabled").unwrap();
        assert_eq!(
            enabled.place.to_string(),
            "c.yaml:6: clusters[1].exec.enabled"
        );
        assert!(matches!(enabled.value, Value::Bool(false)));
        assert_eq!(findings, Findings::default());
    }

    #[test]
    fn words_are_not_booleans_and_quotes_make_text() {
        let top = read("a: yes\nb: off\nc: \"true\"\nd: true\n").unwrap();
        let mut findings = Findings::default();
        let mut table = top.table(&mut findings).unwrap();
        for key in ["a", "b", "c"] {
            assert!(matches!(table.take(key).unwrap().value, Value::Text(_)));
        }
        assert!(matches!(table.take("d").unwrap().value, Value::Bool(true)));
    }

    #[test]
    fn broken_text_is_told_with_its_line_and_without_its_content() {
        let twice = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(twice, "c.yaml:3: the key `a` is there twice");
        let nested = read("a:\n  b: 2\n  b: 3\n").unwrap_err();
        assert_eq!(nested, "c.yaml:3: the key `b` is there twice");
        for bad in [
            "a: [1\nb: 2",
            "a: 1\n---\nb: 2\n",
            "? [a]: b",
            "a: b: hunter2",
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.starts_with("c.yaml:"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(matches!(read("").unwrap().value, Value::Null));
        assert!(matches!(read("# only\n").unwrap().value, Value::Null));
    }

    #[test]
    fn a_small_file_cannot_become_a_large_one() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = level - 1;
            let ten = vec![format!("*a{below}"); 10].join(", ");
            bomb = format!("{bomb}a{level}: &a{level} [{ten}]\n");
        }
        assert!(read(&bomb).is_err());
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(read(&deep).is_err());
    }

    #[test]
    fn what_nobody_asked_for_is_unknown() {
        let top = read("name: a\nnmae: b\ncolour: c\nold: d\n").unwrap();
        let mut findings = Findings::default();
        let mut table = top.table(&mut findings).unwrap();
        table.text("name", &mut findings);
        table.not_honoured("old", "nothing", &mut findings);
        table.finish(&mut findings);
        let errors: Vec<_> = findings.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "c.yaml:2: nmae: unknown key; did you mean `name`?",
                "c.yaml:3: colour: unknown key; there is name"
            ]
        );
        assert_eq!(
            findings.warnings[0].to_string(),
            "c.yaml:4: old is not honoured: nothing"
        );
    }
}
