//! Executes the steps of a file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use sandesh::SandeshOp;
use sandesh::messages::{DropStatsReq, InterfaceReq, VrfStatsReq};
use serde_json::{Map, Value};

use crate::node::Node;
use crate::steps::{Expect, FlowEntry, Reply, Request, Step, masked};
use crate::{frames, replies};

/// How a file went.
pub(crate) struct Outcome {
    pub(crate) steps: usize,
    pub(crate) compared: usize,
    /// A text of several lines each.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    pub(crate) fn panicked(steps: usize) -> Self {
        Self { steps, compared: 0, failures: vec!["  the replay panicked\n".to_owned()] }
    }
}

type Counters = BTreeMap<&'static str, i64>;

/// What a counter step is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Drops,
    Vif(i64),
    Vrf(i64),
}

pub(crate) struct Replay {
    node: Node,
    /// Interfaces that the tester listens on.
    attached: HashSet<String>,
    /// Counters at the last step of the same kind.
    before: HashMap<Counted, Counters>,
    outcome: Outcome,
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self {
            node: Node::new(),
            attached: HashSet::new(),
            before: HashMap::new(),
            outcome: Outcome { steps: 0, compared: 0, failures: Vec::new() },
        }
    }

    pub(crate) fn run(&mut self, steps: &[Step]) {
        self.outcome.steps = steps.len();
        let mut number = 0;
        while let Some(step) = steps.get(number) {
            number += match step {
                Step::Request(request) => {
                    let Some(Step::Reply(reply)) = steps.get(number + 1) else {
                        panic!("step {number}: a request without reply")
                    };
                    self.request(number, request, reply);
                    2
                }
                Step::Expect(_) => {
                    let group: Vec<&Expect> = steps[number..]
                        .iter()
                        .map_while(|step| if let Step::Expect(expect) = step { Some(expect) } else { None })
                        .collect();
                    self.expect(number, &group);
                    group.len()
                }
                single => {
                    self.single(number, single);
                    1
                }
            };
        }
        self.nothing_left(steps.len());
    }

    pub(crate) fn finish(self) -> Outcome {
        self.node.close();
        self.outcome
    }

    fn single(&mut self, number: usize, step: &Step) {
        match step {
            Step::Attach(vif) => {
                self.attached.insert(vif.clone());
            }
            Step::Detach(vif) => {
                self.attached.remove(vif);
            }
            Step::Inject(inject) => {
                self.nothing_left(number);
                self.node.inject(&inject.vif, &inject.frame);
            }
            Step::ExpectNone(milliseconds) => {
                self.node.pass(*milliseconds);
                self.outcome.compared += 1;
                self.nothing_left(number);
            }
            Step::DropStats { delta, ignore } => self.counters(number, Counted::Drops, delta, ignore),
            Step::VifStats { vif, delta } => self.counters(number, Counted::Vif(*vif), delta, &[]),
            Step::VrfStats { vrf, delta } => self.counters(number, Counted::Vrf(*vrf), delta, &[]),
            Step::FlowEntry(entry) => self.flow_entry(number, entry),
            Step::Reply(_) => panic!("step {number}: a reply without request"),
            Step::Request(_) | Step::Expect(_) | Step::Passive => {}
        }
    }

    fn failed(&mut self, number: usize, title: &str, text: &str) {
        // Steps are counted from one, like the lines of the file.
        self.outcome.failures.push(format!("  line {}: {title}\n{}\n", number + 1, text.trim_end()));
    }

    fn request(&mut self, number: usize, request: &Request, recorded: &Reply) {
        let answer = self.node.exchange(&request.payload);
        self.outcome.compared += 1;
        let differences = replies::differences(&answer, recorded);
        if !differences.is_empty() {
            let fields: Vec<String> =
                request.given().map(|(name, value)| format!("{name}={value}")).collect();
            self.failed(number, &format!("{} {}", request.message, fields.join(" ")), &differences);
        }
    }

    /// Frames that came out of attached interfaces since the last look.
    fn sent(&mut self) -> Vec<(String, Vec<u8>)> {
        let attached = &self.attached;
        std::mem::take(&mut self.node.sent).into_iter().filter(|(vif, _)| attached.contains(vif)).collect()
    }

    fn nothing_left(&mut self, number: usize) {
        let left = self.sent();
        self.unexpected(number, left);
    }

    fn unexpected(&mut self, number: usize, frames: Vec<(String, Vec<u8>)>) {
        for (vif, frame) in frames {
            let text = format!("    {vif}: {}", frames::describe(&vif, &frame));
            self.failed(number, "unexpected frame", &text);
        }
    }

    fn expect(&mut self, number: usize, group: &[&Expect]) {
        let mut sent = self.sent();
        for (at, recorded) in group.iter().enumerate() {
            self.outcome.compared += 1;
            let candidates = || sent.iter().enumerate().filter(|(_, (vif, _))| *vif == recorded.vif);
            let same = || candidates().find(|(_, (_, frame))| frames::difference(frame, recorded).is_none());
            let chosen = if recorded.unordered { same() } else { None };
            let Some(position) = chosen.or_else(|| candidates().next()).map(|(position, _)| position) else {
                let text = format!("    recorded: {}", recorded.text);
                self.failed(number + at, &format!("no frame on {}", recorded.vif), &text);
                continue;
            };
            let (vif, frame) = sent.remove(position);
            if let Some(difference) = frames::difference(&frame, recorded) {
                self.failed(number + at, &format!("frame on {vif}"), &difference);
            }
        }
        self.unexpected(number, sent);
    }

    fn read(&mut self, counted: Counted) -> Counters {
        let object = match counted {
            Counted::Drops => self.node.read(&DropStatsReq { h_op: SandeshOp::GET, ..Default::default() }),
            Counted::Vif(vif) => self.node.read(&InterfaceReq {
                h_op: SandeshOp::GET,
                vifr_idx: vif as i32,
                ..Default::default()
            }),
            Counted::Vrf(vrf) => self.node.read(&VrfStatsReq {
                h_op: SandeshOp::GET,
                vsr_vrf: vrf as i32,
                vsr_family: 2,
                ..Default::default()
            }),
        };
        replies::numbers(object.as_record())
    }

    fn counters(&mut self, number: usize, counted: Counted, delta: &Map<String, Value>, ignore: &[String]) {
        self.outcome.compared += 1;
        let now = self.read(counted);
        let before = self.before.remove(&counted).unwrap_or_default();
        // Interfaces have fields that are no counters; the step names those that are.
        let all = !matches!(counted, Counted::Vif(_));
        let is_counter = |name: &str| {
            let prefix = if counted == Counted::Drops { "vds_" } else { "vsr_" };
            let place = ["vds_rid", "vds_core", "vsr_rid", "vsr_vrf", "vsr_family", "vsr_type", "vsr_marker"];
            all && name.starts_with(prefix) && !place.contains(&name)
        };
        let mut text = String::new();
        for (name, value) in &now {
            let wanted = delta.get(*name).map(|value| value.as_i64().unwrap());
            let changed = value - before.get(name).copied().unwrap_or(0);
            if ignore.iter().any(|ignored| ignored == name) || wanted.is_none() && !is_counter(name) {
                continue;
            }
            if changed != wanted.unwrap_or(0) {
                writeln!(text, "    {name} changed by {changed}, recorded {}", wanted.unwrap_or(0)).unwrap();
            }
        }
        for name in delta.keys().filter(|name| !now.contains_key(name.as_str())) {
            writeln!(text, "    there is no counter {name}").unwrap();
        }
        self.before.insert(counted, now);
        if !text.is_empty() {
            let title = match counted {
                Counted::Drops => "drop counters".to_owned(),
                Counted::Vif(vif) => format!("counters of vif {vif}"),
                Counted::Vrf(vrf) => format!("counters of vrf {vrf}"),
            };
            self.failed(number, &title, &text);
        }
    }

    fn flow_entry(&mut self, number: usize, recorded: &FlowEntry) {
        self.outcome.compared += 1;
        let entry = self.node.flow_entry(recorded.index);
        let bad: Vec<usize> = (0..entry.len())
            .filter(|at| !masked(&recorded.mask, *at) && entry[*at] != recorded.bytes[*at])
            .collect();
        if !bad.is_empty() {
            let text = frames::hex(&entry, &recorded.bytes, &bad);
            self.failed(number, &format!("flow entry {}", recorded.index), &text);
        }
    }
}
