//! The blocking start of an agent (control.md 7.1, steps 2 to 7).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::control::Control;
use crate::message::Message;

const FLOW_TABLE_GET: i32 = 2;
const GET: i32 = 1;
const RESET: i32 = 5;
const ADD: i32 = 0;

/// Connects and starts as an agent does: asks for the shared tables, resets the vrouter and learns its limits.
pub fn start(directory: &Path, patience: Duration) -> Result<Control> {
    let mut main = Control::connect(directory, patience)?;
    check_table(flow_table(&mut Control::connect(directory, Duration::ZERO)?)?)?;
    let bridge_table = Message::new("vr_bridge_table_data").i32(1, GET).stop();
    check_table(table_of(&mut Control::connect(directory, Duration::ZERO)?, bridge_table)?)?;
    main.one(Message::new("vrouter_ops").i32(1, RESET).stop())?;
    main.one(settings())?;
    let limits = main.one(Message::new("vrouter_ops").i32(1, GET).stop())?;
    let limits = limits.objects.first().context("vrouter_ops GET returned no object")?;
    for (field, name) in [(3, "labels"), (4, "nexthops"), (9, "interfaces"), (11, "vrfs")] {
        ensure!(limits.number(field) > 0, "the vrouter has room for no {name}");
    }
    Ok(main)
}

/// Size and path of the flow table.
pub(crate) fn flow_table(control: &mut Control) -> Result<(i64, String)> {
    table_of(control, Message::new("vr_flow_table_data").i32(1, FLOW_TABLE_GET).stop())
}

fn table_of(control: &mut Control, request: Vec<u8>) -> Result<(i64, String)> {
    let answer = control.one(request)?;
    let table = answer.objects.first().context("no description of the shared table")?;
    Ok((table.number(3), table.text(5)))
}

/// A real agent dies when the named file is missing or of another size.
fn check_table((size, path): (i64, String)) -> Result<()> {
    let found = std::fs::metadata(&path).with_context(|| format!("shared table {path}"))?.len();
    ensure!(size > 0 && found >= size as u64, "{path} has {found} bytes instead of {size}");
    Ok(())
}

/// Leaves every limit and option as it is, as agents do.
fn settings() -> Vec<u8> {
    let message = Message::new("vrouter_ops").i32(1, ADD);
    let message = (3..=11).fold(message, |message, id| message.i32(id, -1));
    let message = (16..=29).fold(message, |message, id| message.i32(id, -1));
    let message = (34..=37).fold(message, |message, id| message.i32(id, -1));
    message.u32(38, 1).stop()
}
