//! Turns the two tables of the specification into Rust: `schema/sandesh-messages.tsv` becomes one struct
//! per message and the wire tables of the codec, `schema/constants.tsv` the constants of their fields.

mod codec;
mod constants;
mod messages;
mod tsv;

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=schema");
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("schema");
    let target = PathBuf::from(env::var("OUT_DIR")?);

    let table = fs::read_to_string(source.join("sandesh-messages.tsv"))?;
    fs::write(target.join("messages.rs"), messages::generate(&table)?)?;
    let table = fs::read_to_string(source.join("constants.tsv"))?;
    fs::write(target.join("constants.rs"), constants::generate(&table)?)?;
    Ok(())
}
