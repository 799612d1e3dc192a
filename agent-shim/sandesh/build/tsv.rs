//! Tab separated tables with a heading line.

/// The rows of `table`, each with exactly `N` cells.
pub(crate) fn rows<const N: usize>(table: &str) -> Result<Vec<[&str; N]>, String> {
    table
        .lines()
        .enumerate()
        .skip(1)
        .map(|(line, row)| cells(row).map_err(|e| format!("line {}: {e}", line + 1)))
        .collect()
}

fn cells<const N: usize>(row: &str) -> Result<[&str; N], String> {
    let cells: Vec<&str> = row.split('\t').collect();
    let found = cells.len();
    cells.try_into().map_err(|_| format!("{found} cells instead of {N}"))
}

/// A cell, or nothing where the table has `-` for "not defined".
pub(crate) fn defined(cell: &str) -> Option<&str> {
    (cell != "-").then_some(cell)
}

/// `text` as it must be written in a doc comment to be read unchanged.
pub(crate) fn doc(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '_' | '*' | '[' | ']' | '<' | '>' | '`' | '|') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
