//! Sources as the tidy test reads them: what counts as code, and what the code names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// The files below a folder of the repository, without what tools put there; none if it is absent.
pub(crate) fn sources(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![if folder == "." {
        root()
    } else {
        root().join(folder)
    }];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let made_by_tools = matches!(
                name.as_str(),
                "target" | "node_modules" | "dist" | "corpus" | "artifacts"
            );
            if path.is_dir() && !made_by_tools && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension)
                && name != "package-lock.json"
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().map(|path| Source::read(path)).collect()
}

/// One file: its path from the root, its text, and its code without comments, strings and tests.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        let code = if path.extension().is_some_and(|found| found == "rs") {
            without_tests(&code_only(&text))
        } else {
            text.clone()
        };
        let code = if is_test(&name) { String::new() } else { code };
        Self {
            path: name,
            text,
            code,
        }
    }

    /// The module directly below the crate's root that this file of the core belongs to.
    pub(crate) fn module(&self) -> String {
        let inside = self.path.strip_prefix("core/src/").unwrap();
        inside
            .split('/')
            .next()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned()
    }

    /// How many modules deep the file is: 1 for `core/src/time.rs` and `core/src/ws/mod.rs`.
    fn depth(&self) -> usize {
        let folders = self.path.matches('/').count().saturating_sub(2);
        folders + usize::from(!self.path.ends_with("/mod.rs"))
    }

    /// The modules below the crate's root that the code names, by `crate::` or `super::`.
    pub(crate) fn uses(&self) -> BTreeSet<String> {
        let from_root = format!("{}crate::", "");
        let supers = "super::".repeat(self.depth());
        let mut uses = BTreeSet::new();
        for prefix in [from_root, supers] {
            for (index, _) in self.code.match_indices(&prefix) {
                let before = &self.code[..index];
                if !before.ends_with("super::") && !before.ends_with('$') {
                    uses.extend(first_segments(&self.code[index + prefix.len()..]));
                }
            }
        }
        // Macros and items of the root itself are nobody's module.
        uses.retain(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()));
        uses
    }

    pub(crate) fn is_test(&self) -> bool {
        is_test(&self.path)
    }

    pub(crate) fn lines_without_tests(&self) -> usize {
        // Stripping keeps line breaks; a test section is what was cut off the end.
        self.code.trim_end().lines().count()
    }

    pub(crate) fn lines_of_code(&self) -> usize {
        self.code
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count()
    }
}

fn is_test(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts
        .iter()
        .any(|part| matches!(*part, "tests" | "tests.rs" | "benches" | "fuzz_targets"))
        || path.ends_with(".test.ts")
        || path.ends_with(".spec.ts")
}

/// `a::b` names `a`; `{a, b::{c, d}, e as f}` names `a`, `b` and `e`.
fn first_segments(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let (mut depth, mut start, mut names) = (0_u32, 0, Vec::new());
    for (index, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(word(group[start..index].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(word(group[start..index].trim()));
                start = index + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether `line` has `name` with nothing that would make it part of a longer word.
pub(crate) fn names(line: &str, name: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(name).any(|(index, _)| {
        let joined = |first: Option<char>, second: Option<char>| {
            first.is_some_and(is_word) && second.is_some_and(is_word)
        };
        let behind = line[index + name.len()..].chars().next();
        !joined(line[..index].chars().next_back(), name.chars().next())
            && !joined(name.chars().next_back(), behind)
    })
}

/// Rust source with comments and the insides of strings blanked, line by line the same.
fn code_only(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let (mut code, mut index) = (String::with_capacity(text.len()), 0);
    while index < letters.len() {
        let end = match (at(index), at(index + 1)) {
            ('/', '/') => (index..letters.len())
                .find(|end| at(*end) == '\n')
                .unwrap_or(letters.len()),
            ('/', '*') => end_of_block_comment(&letters, index),
            ('"', _) => end_of_string(&letters, index),
            ('r', '"' | '#') if !at(index.wrapping_sub(1)).is_alphanumeric() => {
                end_of_raw_string(&letters, index)
            }
            ('\'', '\\') => (index + 3..letters.len())
                .find(|end| at(*end) == '\'')
                .map_or(letters.len(), |end| end + 1),
            ('\'', _) if at(index + 2) == '\'' => index + 3,
            _ => {
                code.push(at(index));
                index += 1;
                continue;
            }
        };
        code.extend(letters[index..end].iter().filter(|letter| **letter == '\n'));
        index = end;
    }
    code
}

fn end_of_block_comment(letters: &[char], start: usize) -> usize {
    let (mut depth, mut index) = (0_u32, start);
    while index + 1 < letters.len() {
        match (letters[index], letters[index + 1]) {
            ('/', '*') => (depth, index) = (depth + 1, index + 2),
            ('*', '/') if depth == 1 => return index + 2,
            ('*', '/') => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    letters.len()
}

fn end_of_string(letters: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < letters.len() {
        match letters[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    letters.len()
}

/// `r"…"`, `r#"…"#`; a raw identifier (`r#type`) is left as it is.
fn end_of_raw_string(letters: &[char], start: usize) -> usize {
    let hashes = letters[start + 1..]
        .iter()
        .take_while(|letter| **letter == '#')
        .count();
    let open = start + 1 + hashes;
    if letters.get(open) != Some(&'"') {
        return start + 1;
    }
    let closes = |end: &usize| {
        letters[*end] == '"'
            && letters[end + 1..]
                .iter()
                .take(hashes)
                .filter(|letter| **letter == '#')
                .count()
                == hashes
    };
    (open + 1..letters.len())
        .find(closes)
        .map_or(letters.len(), |end| end + 1 + hashes)
}

/// Code without the items that exist in tests only; takes what [`code_only`] gives.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(index) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..index]);
        let item = &rest[index..];
        let mut depth = 0_u32;
        let end = item.char_indices().find(|(_, letter)| {
            match letter {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(letter, '}' | ';')
        });
        rest = end.map_or("", |(end, _)| &item[end + 1..]);
    }
    kept.push_str(rest);
    kept
}

/// What the reading must see, and what must not fool it.
mod reading {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        let code = without_tests(&code_only(text));
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    #[test]
    fn names_in_comments_strings_and_tests_do_not_count() {
        let text = "//! HashMap\nfn a() { /* tokio /* x */ smol */ b(\"std::fs \\\" getrandom\", r#\"a \"OsRng\"\"#, '\"') }\n\
                    #[cfg(test)]\nmod tests { use std::net; fn c() { { } } }\nfn d<'a>(x: &'a u8) {}\n#[cfg(test)]\nmod more;\nfn e() {}\n";
        let code = source("core/src/a.rs", text).code;
        for hidden in [
            "HashMap",
            "tokio",
            "smol",
            "std::fs",
            "getrandom",
            "OsRng",
            "std::net",
            "more",
        ] {
            assert!(!code.contains(hidden), "{hidden} in {code}");
        }
        for shown in ["fn a()", "fn d<'a>(x: &'a u8)", "fn e()"] {
            assert!(code.contains(shown), "{shown} not in {code}");
        }
        assert_eq!(code_only(text).lines().count(), text.lines().count());
    }

    #[test]
    fn uses_are_found_in_paths_groups_and_supers() {
        let uses = |path: &str, text: &str| {
            source(path, text)
                .uses()
                .into_iter()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            uses(
                "core/src/a.rs",
                "use crate::http::X; fn f() { crate::ws::g() }"
            ),
            "http ws"
        );
        assert_eq!(
            uses(
                "core/src/a.rs",
                "use crate::{leg::{b, c},\n spdy, code as d, Thing};"
            ),
            "code leg spdy"
        );
        assert_eq!(uses("core/src/a.rs", "use super::policy;"), "policy");
        assert_eq!(
            uses(
                "core/src/a/b.rs",
                "use super::own; use super::super::policy::X;"
            ),
            "policy"
        );
        assert_eq!(
            uses("core/src/a/mod.rs", "use super::policy; use self::own;"),
            "policy"
        );
    }

    #[test]
    fn words_are_whole_words() {
        assert!(names("let x: Mutex<u8>", "Mutex") && names("a.await?", ".await"));
        assert!(!names("let x: MutexLike", "Mutex") && !names("smoldering", "smol"));
        assert!(names("use tokio::net", "tokio") && !names("runtime_tokio_x", "tokio"));
    }
}
