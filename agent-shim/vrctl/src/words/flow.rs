//! `flow`: the flow table.

use clap::{ArgGroup, Parser};

use super::Word;
use crate::failure::Failure;
use crate::flows::{Flow, FlowTable, table_data};
use crate::session::Session;
use crate::view::{View, show};

mod change;
mod detail;
mod filter;
mod list;
mod names;
mod statistics;

/// Flows.
#[derive(Debug, Parser)]
#[command(name = "flow", group(ArgGroup::new("action").required(true)))]
pub(super) struct FlowWord {
    /// List all flows.
    #[arg(short, long, group = "action")]
    list: bool,
    /// List the flows that match, for example "10.0.0.3:80,10.0.0.4 & proto tcp & vrf 5".
    #[arg(long = "match", value_name = "EXPRESSION", group = "action")]
    matching: Option<filter::Filter>,
    /// Show one flow with the routes and interfaces that it uses.
    #[arg(long, value_name = "INDEX", group = "action")]
    get: Option<u32>,
    /// Forward the packets of a flow.
    #[arg(short, value_name = "INDEX", group = "action")]
    forward: Option<u32>,
    /// Drop the packets of a flow.
    #[arg(short, value_name = "INDEX", group = "action")]
    drop: Option<u32>,
    /// Delete a flow.
    #[arg(short, value_name = "INDEX", group = "action")]
    invalidate: Option<u32>,
    /// Evict a flow whose TCP connection has ended.
    #[arg(short, value_name = "INDEX", group = "action")]
    evict: Option<u32>,
    /// Mirror index, with -f.
    #[arg(long, value_name = "INDEX", requires = "forward")]
    mirror: Option<u8>,
    /// Number of flows by kind, again and again.
    #[arg(short, long, group = "action")]
    stats: bool,
    /// Rates at which flows come and go, again and again.
    #[arg(short, long, group = "action")]
    rate: bool,
    /// Evicted flows too.
    #[arg(long)]
    show_evicted: bool,
    #[command(flatten)]
    view: View,
}

impl Word for FlowWord {
    const NAME: &'static str = "flow";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let changes = [
            (self.forward, change::Change::Forward),
            (self.drop, change::Change::Drop),
            (self.invalidate, change::Change::Delete),
            (self.evict, change::Change::Evict),
        ];
        if let Some((index, change)) = changes.into_iter().find_map(|(index, change)| Some((index?, change)))
        {
            return change::apply(session, index, change, self.mirror);
        }
        if let Some(index) = self.get {
            return detail::show_flow(session, index, &self.view);
        }
        if self.stats {
            return statistics::numbers(session);
        }
        if self.rate {
            return statistics::rates(session);
        }
        self.list(session)
    }
}

impl FlowWord {
    fn list(&self, session: &mut Session) -> Result<(), Failure> {
        let table = FlowTable::open(session.client()?)?;
        let matching = |flow: &Flow| {
            (self.show_evicted || !list::is_evicted(flow))
                && self.matching.as_ref().is_none_or(|filter| filter.matches(flow))
        };
        let fetch = |_: &mut _| {
            let mut flows = table.flows()?;
            flows.retain(matching);
            Ok(flows)
        };
        let filter = self.matching.as_ref().map(ToString::to_string);
        show(session, &self.view, fetch, |out, flows| {
            list::header(out, &table, filter.as_deref())?;
            flows.iter().try_for_each(|flow| list::print(out, flow))
        })
    }
}
