//! `count CASE PEER MESSAGES`: does so much and no more, for callgrind.

use periscope_core_benches::{CASES, measured, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, peer, messages] = arguments.as_slice() else {
        return Err("usage: count CASE PEER MESSAGES".into());
    };
    let case = CASES.iter().find(|known| known.name == case);
    let mut subject = case.ok_or("no such case")?.subject(peer);
    run(&mut *subject, messages.parse()?, measured);
    Ok(())
}
