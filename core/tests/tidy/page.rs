//! The page of limits as the source of the limits gives it.

use std::fmt::Write as _;

/// The page of limits: one row for each constant, its value made readable, its documentation.
pub(crate) fn limits_page(source: &str) -> String {
    let mut page = String::from(
        "# Limits\n\n\
         Every bound of the core, its value, and what it answers. This page is written from\n\
         `core/src/limits.rs` by `PERISCOPE_UPDATE_DOCS=1 cargo test -p periscope-core --test tidy`,\n\
         and the same test fails while the two differ.\n\n\
         | Limit | Value | Why |\n|---|---|---|\n",
    );
    let mut why = Vec::new();
    for line in source.lines() {
        if let Some(sentence) = line.strip_prefix("/// ") {
            why.push(sentence);
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            let (name, definition) = constant.split_once(": ").unwrap();
            let (kind, value) = definition.trim_end_matches(';').split_once(" = ").unwrap();
            assert!(!why.is_empty(), "{name} does not say why");
            let (value, why) = (
                readable(name, kind, value),
                why.join(" ").replace('|', "\\|"),
            );
            writeln!(page, "| `{name}` | {value} | {why} |").unwrap();
        } else if !line.is_empty() && !line.starts_with("//!") && !line.starts_with("use ") {
            panic!("core/src/limits.rs holds one-line constants only: {line}");
        }
        if !line.starts_with("///") {
            why.clear();
        }
    }
    page
}

fn readable(name: &str, kind: &str, value: &str) -> String {
    if kind == "Duration" {
        let call = value
            .strip_prefix("Duration::from_")
            .unwrap()
            .trim_end_matches(')');
        let (unit, number) = call.split_once('(').unwrap();
        let unit = match unit {
            "millis" => "ms",
            "secs" => "s",
            "mins" => "min",
            "hours" => "h",
            other => panic!("{name}: no name for the unit `{other}`"),
        };
        return format!("{} {unit}", grouped(product(name, number)));
    }
    let number = product(name, value);
    let bytes = name.contains("BYTES");
    match number {
        _ if !bytes => grouped(number),
        _ if number >= 1 << 20 && number.is_multiple_of(1 << 20) => {
            format!("{} MiB", grouped(number >> 20))
        }
        _ if number >= 1 << 10 && number.is_multiple_of(1 << 10) => {
            format!("{} KiB", grouped(number >> 10))
        }
        _ => format!("{} bytes", grouped(number)),
    }
}

fn product(name: &str, value: &str) -> u64 {
    let factor = |factor: &str| -> u64 {
        let digits = factor.trim().replace('_', "");
        digits
            .parse()
            .unwrap_or_else(|_| panic!("{name}: `{value}` is no product of numbers"))
    };
    value.split('*').map(factor).product()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn limits_become_rows_that_people_can_read() {
    let page = limits_page(
        "//! x\n\nuse core::time::Duration;\n\n/// Why\n/// so.\npub const A_BYTES_MAX: usize = 64 * 1024;\n\n/// D.\npub const D: Duration = Duration::from_secs(1_500);\n\n/// N.\npub const N: u32 = 3;\n",
    );
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(
        rows,
        [
            "| `A_BYTES_MAX` | 64 KiB | Why so. |",
            "| `D` | 1,500 s | D. |",
            "| `N` | 3 | N. |"
        ]
    );
}
