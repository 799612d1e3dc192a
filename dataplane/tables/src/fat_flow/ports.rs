//! What rules say of ports.

use super::Rule;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// What rules tell apart: a protocol with ports, or one without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// TCP, UDP and SCTP, in this order.
    Ports(usize),
    Protocol(u8),
}

impl Class {
    pub(super) const fn of(protocol: u8) -> Self {
        match protocol {
            TCP => Self::Ports(0),
            UDP => Self::Ports(1),
            SCTP => Self::Ports(2),
            other => Self::Protocol(other),
        }
    }
}

/// Which ports a rule takes out of the key: source, destination.
pub(super) type Masked = [bool; 2];

/// Values by protocol and port, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports<V> {
    by_port: [Vec<(u16, V)>; 3],
    by_protocol: Vec<(u16, V)>,
    /// Whether port zero, and protocol zero, stand for any.
    zero_is_any: bool,
}

impl<V> Default for Ports<V> {
    fn default() -> Self {
        Self { by_port: Default::default(), by_protocol: Vec::new(), zero_is_any: true }
    }
}

fn find<V>(values: &[(u16, V)], number: u16) -> Option<&V> {
    let place = values.binary_search_by_key(&number, |(number, _)| *number).ok()?;
    values.get(place).map(|(_, value)| value)
}

impl<V> Ports<V> {
    /// The value for the port of a rule, or for its protocol if that has no ports; `change` gets the one that is
    /// there.
    pub(super) fn update(&mut self, rule: Rule, fresh: impl FnOnce() -> V, change: impl FnOnce(&mut V)) {
        let (values, number) = match Class::of(rule.protocol()) {
            Class::Ports(class) => (&mut self.by_port[class], rule.port()),
            Class::Protocol(protocol) => (&mut self.by_protocol, u16::from(protocol)),
        };
        let place = values.binary_search_by_key(&number, |(number, _)| *number).unwrap_or_else(|place| {
            values.insert(place, (number, fresh()));
            place
        });
        change(&mut values[place].1);
    }

    pub(super) fn without_any_port(&mut self) {
        self.zero_is_any = false;
    }

    /// The first value that `choose` takes, and which ports it masks. A rule for one port masks the other one. The
    /// smaller port goes first, the destination of two equal ones; then rules for any port, which mask both.
    pub(super) fn find<'a, R>(
        &'a self,
        class: Class,
        [source, destination]: [u16; 2],
        choose: impl Fn(&'a V) -> Option<R>,
    ) -> Option<(R, Masked)> {
        const BOTH: Masked = [true, true];
        let values = match class {
            Class::Ports(class) => &self.by_port[class],
            Class::Protocol(_) => &self.by_protocol,
        };
        let look = |number: u16, masked: Masked| Some((choose(find(values, number)?)?, masked));
        let any = || if self.zero_is_any { look(0, BOTH) } else { None };
        if let Class::Protocol(protocol) = class {
            return look(u16::from(protocol), BOTH).or_else(any);
        }
        let by_source = || look(source, [false, true]);
        let by_destination = || look(destination, [true, false]);
        if source < destination {
            by_source().or_else(by_destination).or_else(any)
        } else {
            by_destination().or_else(by_source).or_else(any)
        }
    }
}

impl<V: Copy> Ports<V> {
    /// Sets the value for the port of a rule; the last rule for it counts.
    pub(super) fn set(&mut self, rule: Rule, value: V) {
        self.update(rule, || value, |place| *place = value);
    }
}
