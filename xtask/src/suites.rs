//! The suites of `cargo xtask test`: what runs, in which order, and for how long at the most.

use crate::{layers, spec_copies};

/// What all suites together may take, from the build to the last test.
pub(crate) const MINUTES: u32 = 20;

/// One suite.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) covers: &'static str,
    /// Seconds after which it is ended and has failed.
    pub(crate) budget: u32,
    pub(crate) work: Work,
}

/// What a suite does.
pub(crate) enum Work {
    /// Runs programs, one after the other, with these environment variables.
    Commands(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// Looks at the sources and returns what is wrong.
    Check(fn() -> anyhow::Result<Vec<String>>),
    /// Builds everything, once and with the same features for all, as the test suites need it.
    Build,
    /// Runs the tests of these packages.
    Tests { of: Packages, order: Order },
    /// Runs the tests named `<fuzz target>_corpus` of all packages.
    Corpora,
    /// Reports what the suites before it have left behind.
    Leftovers,
}

/// Which packages' tests belong to a suite.
pub(crate) enum Packages {
    /// These.
    Named(&'static [&'static str]),
    /// Those that no other suite names.
    Others,
}

/// How tests of one program run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// At the same time, as the test harness likes it.
    Parallel,
    /// One by one: they measure time, or share devices or processors.
    OneByOne,
}

/// All suites in their order.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "formatting",
        covers: "every Rust file is formatted",
        budget: 30,
        work: Work::Commands(
            &[
                "cargo fmt --all --check",
                "cargo fmt --manifest-path ebpf/steer/Cargo.toml --check",
                "cargo fmt --manifest-path tests/fuzz/Cargo.toml --check",
            ],
            &[],
        ),
    },
    Suite {
        name: "layers",
        covers: "crates depend only on the layers below them",
        budget: 30,
        work: Work::Check(layers::check),
    },
    Suite {
        name: "spec copies",
        covers: "copies of the specification equal docs/spec",
        budget: 30,
        work: Work::Check(spec_copies::check),
    },
    Suite {
        name: "clippy",
        covers: "lints; warnings are errors",
        budget: 240,
        work: Work::Commands(
            &["cargo clippy --workspace --all-targets --features vr-io/xsk-rs --keep-going -- -D warnings"],
            &[],
        ),
    },
    Suite { name: "build", covers: "programs, tests and benches compile", budget: 480, work: Work::Build },
    Suite {
        name: "docs",
        covers: "documentation without warnings; its examples work",
        budget: 180,
        work: Work::Commands(
            &[
                "cargo doc --workspace --features vr-io/xsk-rs --no-deps --keep-going",
                "cargo test --workspace --features vr-io/xsk-rs --doc --no-fail-fast",
            ],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
    },
    Suite {
        name: "unit",
        covers: "unit and property tests, step files",
        budget: 300,
        work: Work::Tests { of: Packages::Others, order: Order::Parallel },
    },
    Suite {
        name: "fuzz corpora",
        covers: "every input that fuzzing has collected, replayed",
        budget: 60,
        work: Work::Corpora,
    },
    Suite {
        name: "verifier",
        covers: "the kernel takes the eBPF programs, and they decide as they should",
        budget: 240,
        work: Work::Tests { of: Packages::Named(&["steer-loader"]), order: Order::Parallel },
    },
    Suite {
        name: "ports",
        covers: "every kind of port, on real devices",
        budget: 120,
        work: Work::Tests { of: Packages::Named(&["vr-io"]), order: Order::OneByOne },
    },
    Suite {
        name: "namespaces",
        covers: "workers, the daemon, and scenarios between network namespaces",
        budget: 480,
        work: Work::Tests {
            of: Packages::Named(&["vr-runtime", "vrouterd", "vr-tests"]),
            order: Order::OneByOne,
        },
    },
    Suite {
        name: "left behind",
        covers: "no namespace, process, file or pinned object outlives its test",
        budget: 30,
        work: Work::Leftovers,
    },
];

/// Whether the tests of `package` belong to a suite of these packages.
pub(crate) fn belongs(package: &str, packages: &Packages) -> bool {
    match packages {
        Packages::Named(names) => names.contains(&package),
        Packages::Others => !SUITES.iter().any(|suite| match &suite.work {
            Work::Tests { of: Packages::Named(names), .. } => names.contains(&package),
            _ => false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Packages, belongs};

    #[test]
    fn every_package_has_one_suite() {
        let named = Packages::Named(&["vr-io"]);
        assert!(belongs("vr-io", &named) && !belongs("vr-io", &Packages::Others));
        assert!(!belongs("vr-types", &named) && belongs("vr-types", &Packages::Others));
    }
}
