//! The committed object belongs to the committed sources.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

#[path = "../../../xtask/src/build_ebpf.rs"]
#[allow(dead_code, unreachable_pub, reason = "the command of xtask, of which this uses the parts")]
mod build_ebpf;

use build_ebpf::{COMPILER, MANIFEST, Toolchain, manifest, repository};
use std::{collections::BTreeMap, fs, path::Path};
use support::skip;

const REBUILD: &str = "run `cargo xtask build-ebpf` and commit what it writes";

#[test]
fn the_object_was_built_from_these_sources() {
    let root = repository().unwrap();
    let recorded = fs::read_to_string(root.join(MANIFEST)).unwrap();
    let lines = |text: &str| -> BTreeMap<String, String> {
        text.lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(hash, file)| (file.into(), hash.into()))
            .collect()
    };
    let (recorded, now) = (lines(&recorded), lines(&manifest(&root).unwrap()));
    let changed: Vec<&String> =
        recorded.keys().chain(now.keys()).filter(|file| recorded.get(*file) != now.get(*file)).collect();
    assert!(changed.is_empty(), "changed since the eBPF object was built: {changed:?}; {REBUILD}");
    assert!(now.len() > 10, "only {} files", now.len());
}

#[test]
fn a_rebuild_gives_the_same_object() {
    const NAME: &str = "a_rebuild_gives_the_same_object";
    let root = repository().unwrap();
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => return skip(NAME, &first_line(&format!("{reason:#}"))),
    };
    let rebuilt = toolchain.build(&root, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("ebpf")).unwrap();
    if rebuilt == steer_loader::OBJECT {
        return;
    }
    let recorded = fs::read_to_string(root.join(COMPILER)).unwrap();
    let differing: Vec<&str> = ["xdp.frags", "classifier", ".text", "maps", "license"]
        .into_iter()
        .filter(|name| section(name, &rebuilt) != section(name, steer_loader::OBJECT))
        .collect();
    if toolchain.compiler != recorded {
        if !differing.is_empty() {
            let compiler = toolchain.compiler.trim();
            skip(NAME, &format!("{compiler} makes other code in {differing:?} than {}", recorded.trim()));
        }
        return;
    }
    panic!("the rebuilt object differs, in sections {differing:?}; {REBUILD}");
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The bytes of a section of a little-endian 64-bit ELF file.
fn section<'a>(name: &str, object: &'a [u8]) -> &'a [u8] {
    let number = |at: usize, length: usize| {
        object[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, entry, count, names) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2), number(0x3e, 2));
    let content = |index: usize| {
        let header = table + index * entry;
        let (offset, length) = (number(header + 0x18, 8), number(header + 0x20, 8));
        &object[offset..offset + length]
    };
    let found = (0..count).find(|index| {
        let own = &content(names)[number(table + index * entry, 4)..];
        own.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    });
    content(found.unwrap_or_else(|| panic!("no section {name}")))
}
