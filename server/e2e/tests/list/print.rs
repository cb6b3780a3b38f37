//! The table as a person reads it.

use std::fmt::Write as _;

use crate::Played;
use crate::gateways::Runtime;
use crate::table::{COLUMNS, Cell, LIST, Row};

/// Prints the table, with a note for every cell that is not as in the other columns.
pub(crate) fn table(played: &[Played], filter: &str) {
    let mut notes = Vec::new();
    let mut header = format!("{:<26}", "");
    let mut below = header.clone();
    for runtime in Runtime::ALL {
        for (transport, peer) in COLUMNS {
            let column = format!("{}/{}", runtime.name(), transport.name());
            write!(header, " {column:<13}").unwrap();
            write!(below, " {:<13}", peer.name()).unwrap();
        }
    }
    println!("\n{}\n{}", header.trim_end(), below.trim_end());
    let rows = LIST.iter().enumerate();
    for (index, row) in rows.filter(|(_, row)| row.name.contains(filter)) {
        let mut line = format!("{:<26}", row.name);
        for runtime in Runtime::ALL {
            for column in 0..COLUMNS.len() {
                let one = played
                    .iter()
                    .find(|one| (one.row, one.column, one.runtime) == (index, column, runtime));
                write!(line, " {:<13}", cell(row, column, one, &mut notes)).unwrap();
            }
        }
        println!("{}", line.trim_end());
    }
    for (index, note) in notes.iter().enumerate() {
        println!("({}) {note}", index + 1);
    }
}

fn cell(row: &Row, column: usize, one: Option<&Played>, notes: &mut Vec<String>) -> String {
    let verdict = match one {
        Some(one) if one.failure.is_some() => "FAILED".to_owned(),
        Some(one) => format!("ok {:.1}s", one.took.as_secs_f32()),
        None => "n/a".to_owned(),
    };
    let (transport, peer) = COLUMNS[column];
    let note = match (row.cell)(peer, transport) {
        Cell::Plays => return verdict,
        Cell::Instead(text) => text.to_owned(),
        Cell::NotApplicable(text) => format!("not applicable: {text}"),
    };
    let known = notes.iter().position(|known| *known == note);
    let index = known.unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    format!("{verdict} ({})", index + 1)
}
