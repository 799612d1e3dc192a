//! How objects are shown: once as text or JSON, or again and again with rates.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use sandesh::Message;
use serde_json::Value;

use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;

/// Clears a terminal, as the program `clear` does.
pub(crate) const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Options of every word that shows objects.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct View {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print again every SECONDS; counters are then per second.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed")?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|period| *period >= Duration::from_millis(10))
        .ok_or_else(|| "at least 0.01 seconds are needed".to_owned())
}

/// Something that can be shown.
pub(crate) trait Item: Sized {
    /// All fields.
    fn json(&self) -> Value;

    /// The item with its counters per second, if `before` holds the same item.
    fn rates(&self, before: &[Self], seconds: f64) -> Self;
}

/// Fetches objects and prints them as `view` says.
pub(crate) fn show<T: Item>(
    session: &mut Session,
    view: &View,
    mut fetch: impl FnMut(&mut Client) -> Result<Vec<T>, Failure>,
    print: impl Fn(&mut dyn Write, &[T]) -> io::Result<()>,
) -> Result<(), Failure> {
    let (client, out) = session.parts()?;
    let mut items = fetch(client)?;
    let Some(period) = view.watch else { return render(out, view, &items, &print) };
    let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
    if !view.json {
        writeln!(out, "{clear}Totals")?;
    }
    render(out, view, &items, &print)?;
    out.flush()?;
    let mut taken = Instant::now();
    loop {
        std::thread::sleep(period);
        let now = fetch(client)?;
        let elapsed = taken.elapsed().as_secs_f64();
        taken = Instant::now();
        let rates: Vec<T> = now.iter().map(|item| item.rates(&items, elapsed)).collect();
        items = now;
        if !view.json {
            writeln!(out, "{clear}Counters per second, over {elapsed:.1} s")?;
        }
        render(out, view, &rates, &print)?;
        out.flush()?;
    }
}

fn render<T: Item>(
    out: &mut dyn Write,
    view: &View,
    items: &[T],
    print: &impl Fn(&mut dyn Write, &[T]) -> io::Result<()>,
) -> Result<(), Failure> {
    if view.json {
        let list = Value::Array(items.iter().map(Item::json).collect());
        writeln!(out, "{list:#}")?;
    } else {
        print(out, items)?;
    }
    Ok(())
}

/// Prints the objects of one kind.
pub(crate) fn each<'a, T: 'a>(
    objects: &'a [Message],
    print: impl FnMut(&'a T) -> io::Result<()>,
) -> io::Result<()>
where
    &'a T: TryFrom<&'a Message>,
{
    objects.iter().filter_map(|object| <&T>::try_from(object).ok()).try_for_each(print)
}
