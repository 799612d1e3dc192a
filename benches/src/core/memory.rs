//! Memory of the flow table, and what the machine has left.

use anyhow::Context;

use super::Row;
use super::tables::Tables;

/// Bytes of memory that the process has.
pub(super) fn resident() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    kib(&text, "VmRSS:")
}

/// Bytes of memory that the machine can still give.
///
/// # Errors
/// When the system does not say.
pub fn available() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    kib(&text, "MemAvailable:")
}

fn kib(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name)).context("a line is missing")?;
    let number = line.split_whitespace().nth(1).context("a number is missing")?;
    Ok(number.parse::<u64>()? * 1024)
}

impl Row {
    /// Bytes that the row takes, as a rough guess: for whether it can be measured here.
    #[must_use]
    pub fn memory(&self) -> u64 {
        u64::from(self.flows) * if self.traffic.has_reverse() { 1600 } else { 800 } + (256 << 20)
    }
}

/// Prints what the flow table of a row takes, with all its flows in it.
///
/// # Errors
/// When memory for the tables is not to be had.
pub fn print_memory(row: &Row) -> anyhow::Result<()> {
    let tables = Tables::new(row, 1)?;
    let (bytes, flows) = (tables.flow_memory as f64, f64::from(row.flows));
    let geometry = tables.flows.geometry();
    println!(
        "{:>9} flows, {} + {} entries: {:.2} GiB, {:.0} bytes a flow",
        row.flows,
        geometry.entries,
        geometry.overflow,
        bytes / f64::from(1 << 30),
        bytes / flows
    );
    Ok(())
}
