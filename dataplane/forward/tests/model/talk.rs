//! Who talks to whom.

use vr_tables::flow::FlowKey;
use vr_types::NexthopId;

use crate::packets::{ESP, ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::random::Random;
use crate::world::{FLOATING, GUEST_HOST, NOWHERE, REMOTE, ROUTED, SERVED, SERVICE, inet, inet6};

/// Two ends that talk, and the name under which the near one is known elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    pub(crate) is_inet6: bool,
    pub(crate) protocol: u8,
    pub(crate) guest: usize,
    pub(crate) far: u8,
    pub(crate) alias: u8,
    /// Near, far, alias.
    pub(crate) ports: [u16; 3],
}

/// A direction of a talk under one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Near to far.
    Out,
    /// Far to near.
    In,
    /// Far to the alias of near.
    InByAlias,
    /// The alias of near to far.
    OutByAlias,
    /// Far to near, as the far guest's interface sees it.
    FromFar,
    /// Far to the service that two guests have.
    ToService,
}

pub(crate) const SIDES: [Side; 6] =
    [Side::Out, Side::In, Side::InByAlias, Side::OutByAlias, Side::FromFar, Side::ToService];

impl Talk {
    pub(crate) fn random(random: &mut Random) -> Self {
        let is_inet6 = random.once_in(4);
        let icmp = if is_inet6 { ICMPV6 } else { ICMP };
        let guest = random.below(3);
        let others = [REMOTE[0], REMOTE[1], REMOTE[2], REMOTE[0], GUEST_HOST[1 - guest.min(1)]];
        Self {
            is_inet6,
            protocol: random.of(&[TCP, TCP, TCP, UDP, UDP, icmp, SCTP, ESP]),
            guest,
            far: if random.once_in(12) { NOWHERE } else { random.of(&others) },
            alias: random.of(&[FLOATING, FLOATING, SERVICE, GUEST_HOST[guest]]),
            ports: [random.of(&[1000, 1001]), 80, random.of(&[1000, 6000])],
        }
    }

    pub(crate) fn far_guest(&self) -> Option<usize> {
        GUEST_HOST.iter().position(|host| *host == self.far)
    }

    /// Addresses and ports of a side, source first.
    pub(crate) fn ends(&self, side: Side) -> ([u8; 2], [u16; 2]) {
        let (near, far) = (GUEST_HOST[self.guest], self.far);
        let [near_port, far_port, alias_port] = self.ports;
        match side {
            Side::Out => ([near, far], [near_port, far_port]),
            Side::In | Side::FromFar => ([far, near], [far_port, near_port]),
            Side::InByAlias => ([far, self.alias], [far_port, alias_port]),
            Side::OutByAlias => ([self.alias, far], [alias_port, far_port]),
            Side::ToService => ([far, SERVICE], [far_port, near_port]),
        }
    }

    /// The key of a side's flow.
    pub(crate) fn key(&self, side: Side) -> FlowKey {
        let (hosts, ports) = self.ends(side);
        let ports = match self.protocol {
            TCP | UDP | SCTP => ports,
            ICMP => [self.ports[0], 0],
            ICMPV6 => [self.ports[0], 129],
            _ => [0, 0],
        };
        let ([a, b], [c, d]) = (ports[0].to_be_bytes(), ports[1].to_be_bytes());
        let nexthop = NexthopId(match (side, self.far_guest()) {
            (Side::ToService, _) => SERVED,
            (Side::FromFar, Some(far)) => ROUTED[far],
            _ => ROUTED[self.guest],
        });
        let [source, destination] = hosts;
        if self.is_inet6 {
            let (source, destination) = (inet6(source), inet6(destination));
            FlowKey::inet6(self.protocol, [a, b, c, d], nexthop, source, destination)
        } else {
            FlowKey::inet(self.protocol, [a, b, c, d], nexthop, inet(source), inet(destination))
        }
    }
}
