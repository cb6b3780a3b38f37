//! Rebuilds the program when the web UI was built anew: the UI is embedded in it.

#![allow(
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo"
)]

fn main() -> std::io::Result<()> {
    // The macro that embeds the folder wants it to exist. Without a build of the UI it is empty,
    // and the program says so to whoever opens it.
    std::fs::create_dir_all("web/dist")?;
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
