//! The recorded output of the original's utilities.

/// One command and what it printed.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The command line.
    pub(crate) line: String,
    /// Whether it was run as on a node, without `--sock-dir`.
    pub(crate) on_node: bool,
    /// What it printed, errors included.
    pub(crate) text: String,
    /// Its exit status.
    pub(crate) status: i32,
}

/// All samples in their order.
pub(crate) fn read() -> Vec<Sample> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/utility-samples.txt");
    let file = std::fs::read_to_string(path).unwrap();
    // The introduction speaks of the mark too.
    let samples: Vec<Sample> = file.split("\n### ").skip(1).map(sample).collect();
    assert!(samples.len() > 40, "{} samples", samples.len());
    samples
}

fn sample(text: &str) -> Sample {
    let (line, text) = text.split_once('\n').unwrap();
    let node = line.strip_suffix("(platform dpdk)");
    let (text, status) = text.trim_end().rsplit_once("[rc ").unwrap();
    Sample {
        line: node.unwrap_or(line).trim().to_owned(),
        on_node: node.is_some(),
        text: text.to_owned(),
        status: status.trim_end_matches(']').parse().unwrap(),
    }
}
