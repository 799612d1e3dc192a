//! What a flow shall do: policy and address translation, decided from the packet that was trapped.
//!
//! A decision is a pair of directions. A translation is stated by what the packet becomes: a vrouter takes the new
//! header fields of one direction from the key of the other (forwarding.md 6.7), so the key of the reverse direction is
//! that of the translated packet turned round, and the flags say which fields differ.
//!
//! | packet | becomes | VRF | who decides |
//! |---|---|---|---|
//! | of a pod to another address | | | policy between networks |
//! | of a pod to a service, all backends elsewhere | | client's | this node; the vrouter chooses the backend |
//! | of a pod to a service, some backends here | to the backend, if the chosen one is here | client's to backend's | this node, which chooses the backend |
//! | from the fabric to a service | to the backend that its label names | service's to backend's | the node of the backend |
//! | of a pod with a floating address to the outside | from the floating address | pod's to floating network's | the node of the pod |
//! | from the fabric to a floating address | to the pod | floating network's to pod's | the node of the pod |
//! | of a pod to a link-local address | from the pod's metadata address to the host | pod's to fabric's | this node |
//! | the same, the service being elsewhere | from the host to the service | pod's to fabric's | this node |
//! | of the host to a metadata address | from the link-local address to the pod | fabric's to pod's | this node |

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::packet::{FiveTuple, Trap, parse};
use crate::service::{FloatingIp, LinkLocal, Service, Target, metadata_address};
use crate::topology::{FABRIC_VIF, HOST_VIF, PodId, Topology, Tunnel, nexthop, pod_vif, vrf};

/// Source check off: the discard nexthop accepts every source (forwarding.md 6.6).
const ANY_SOURCE: i32 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Bits of `fr_flags`.
pub(crate) mod flag {
    pub(crate) const SNAT: u16 = 0x2;
    pub(crate) const SPAT: u16 = 0x4;
    pub(crate) const DNAT: u16 = 0x8;
    pub(crate) const DPAT: u16 = 0x10;
    pub(crate) const TRANSLATION: u16 = SNAT | SPAT | DNAT | DPAT;
    pub(crate) const LINK_LOCAL: u16 = 0x8000;
}

/// One direction of a flow as it has to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) tuple: FiveTuple,
    pub(crate) key_nexthop: i32,
    pub(crate) source_nexthop: i32,
    pub(crate) vrf: i32,
    /// The VRF that packets go to, if it is another one.
    pub(crate) other_vrf: Option<i32>,
    /// Bits of [`flag`]: the fields that are translated, and more.
    pub(crate) flags: u16,
    /// The member of a composite that packets take, if the agent chooses.
    pub(crate) member: Option<usize>,
}

/// Both directions of a flow, and whether its packets may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) allowed: bool,
    pub(crate) forward: Direction,
    pub(crate) reverse: Direction,
}

/// A place where packets of a flow come from: the nexthop of their key, the one of the source check, and the VRF.
#[derive(Clone, Copy)]
struct End {
    key: i32,
    source: i32,
    vrf: i32,
}

/// Decides the flow of a trapped packet; `None` if it makes no flow that this agent knows.
pub(crate) fn decide(topology: &Topology, own: usize, trap: &Trap<'_>) -> Option<Pair> {
    let from_fabric = trap.vif == FABRIC_VIF;
    let parsed = parse(trap.frame, from_fabric)?;
    let rules = Rules { topology, own, tuple: parsed.tuple };
    let end = |source| End { key: trap.key_nexthop, source, vrf: trap.vrf };
    if from_fabric {
        let source = parsed.outer_source.map_or(ANY_SOURCE, |source| tunnel_to(topology, source));
        return Some(rules.from_fabric(end(source)));
    }
    if trap.vif == HOST_VIF {
        return rules.from_host(HOST);
    }
    let pods = &topology.nodes[own].pods;
    let pod = (0..pods.len()).find(|pod| pod_vif(*pod) == trap.vif)?;
    Some(rules.from_pod(pod, end(nexthop::routed(pod))))
}

/// Packets of the host.
const HOST: End = End { key: nexthop::HOST_RECEIVE, source: ANY_SOURCE, vrf: 0 };

struct Rules<'a> {
    topology: &'a Topology,
    own: usize,
    tuple: FiveTuple,
}

impl Rules<'_> {
    fn from_pod(&self, pod: usize, from: End) -> Pair {
        let topology = self.topology;
        let network = topology.nodes[self.own].pods[pod].network;
        let of_clients = |service: &&(usize, &Service)| {
            service.1.clients == network && service.1.address == self.tuple.destination
        };
        if let Some((index, service)) = topology.services.iter().enumerate().find(|found| of_clients(&found))
        {
            return self.to_service(index, service, from);
        }
        let destination = self.tuple.destination;
        if let Some(service) =
            topology.link_local.iter().copied().find(|service| service.address == destination)
        {
            return self.to_link_local(service, pod, from);
        }
        let id = PodId { node: self.own, pod };
        let outside = topology.network_of(self.tuple.destination).is_none();
        if let Some(floating) = topology.floating.iter().find(|floating| outside && floating.pod == id) {
            return self.by_floating(floating, from);
        }
        self.plain(network, from)
    }

    fn from_fabric(&self, from: End) -> Pair {
        let (topology, destination) = (self.topology, self.tuple.destination);
        let pod = (0..topology.nodes[self.own].pods.len()).find(|pod| nexthop::routed(*pod) == from.key);
        if let Some(pod) = pod {
            let id = PodId { node: self.own, pod };
            let services = topology.services.iter().enumerate();
            let mut here = services.filter(|(_, service)| service.backends.contains(&Some(id)));
            if let Some((index, service)) = here.find(|(_, service)| service.address == destination) {
                let from = End { vrf: topology.service_vrf(index), ..from };
                return self.to_backend(service, id, from, None);
            }
            let mut floating = topology.floating.iter().filter(|floating| floating.pod == id);
            if let Some(floating) = floating.find(|floating| floating.address == destination) {
                return self.to_floating(floating, from);
            }
        }
        self.plain((from.vrf - 1) as usize, from)
    }

    /// No translation: policy decides.
    fn plain(&self, network: usize, from: End) -> Pair {
        let topology = self.topology;
        let to = match topology.find_pod(network, self.tuple.destination) {
            Some((node, pod)) if node == self.own => local(PodId { node, pod }, from.vrf),
            Some((node, _)) => End { source: nexthop::tunnel(node, Tunnel::MplsOverUdp), ..from },
            None => End { source: way_out(topology, network), ..from },
        };
        let allowed = topology.allows(self.tuple.source, self.tuple.destination);
        Pair { allowed, ..self.pair(self.tuple, from, to, None) }
    }

    fn to_service(&self, index: usize, service: &Service, from: End) -> Pair {
        let composite = End { source: nexthop::backends(index), ..from };
        let untranslated = self.pair(self.tuple, from, composite, None);
        if !self.is_served(service) {
            return Pair { allowed: false, ..untranslated };
        }
        let present: Vec<(usize, PodId)> = service
            .backends
            .iter()
            .enumerate()
            .filter_map(|(position, backend)| Some((position, (*backend)?)))
            .collect();
        if !present.iter().any(|(_, id)| id.node == self.own) {
            return untranslated;
        }
        let (position, id) = present[self.tuple.hash() as usize % present.len()];
        if id.node == self.own {
            self.to_backend(service, id, from, Some(position))
        } else {
            self.pair(self.tuple, from, composite, Some(position))
        }
    }

    /// To a backend on this node. A port that the service does not have leads nowhere.
    fn to_backend(&self, service: &Service, id: PodId, from: End, member: Option<usize>) -> Pair {
        let backend = self.topology.pod(id);
        let translated = FiveTuple {
            destination: backend.address,
            destination_port: service.target_port.to_be_bytes(),
            ..self.tuple
        };
        let to = local(id, vrf(backend.network));
        Pair { allowed: self.is_served(service), ..self.pair(translated, from, to, member) }
    }

    fn is_served(&self, service: &Service) -> bool {
        let known = matches!(self.tuple.protocol, TCP | UDP);
        known && self.tuple.destination_port == service.port.to_be_bytes()
    }

    /// From a pod to the outside by its floating address.
    fn by_floating(&self, floating: &FloatingIp, from: End) -> Pair {
        let mut translated = FiveTuple { source: floating.address, ..self.tuple };
        if let Some((outer, inner)) = floating.port_map
            && self.tuple.source_port == inner.to_be_bytes()
        {
            translated.source_port = outer.to_be_bytes();
        }
        let source = way_out(self.topology, floating.network);
        self.pair(translated, from, End { key: from.key, source, vrf: vrf(floating.network) }, None)
    }

    /// From the outside to a pod by its floating address.
    fn to_floating(&self, floating: &FloatingIp, from: End) -> Pair {
        let pod = self.topology.pod(floating.pod);
        let mut translated = FiveTuple { destination: pod.address, ..self.tuple };
        if let Some((outer, inner)) = floating.port_map
            && self.tuple.destination_port == outer.to_be_bytes()
        {
            translated.destination_port = inner.to_be_bytes();
        }
        let from = End { vrf: vrf(floating.network), ..from };
        self.pair(translated, from, local(floating.pod, vrf(pod.network)), None)
    }

    /// From a pod to its host, or with the host's address to somebody else. A port that the service does not have
    /// leads nowhere.
    fn to_link_local(&self, service: LinkLocal, pod: usize, from: End) -> Pair {
        let host = self.topology.nodes[self.own].address;
        let (source, source_port, target) = match service.target {
            Target::Host(port) => {
                (metadata_address(pod), self.tuple.source_port, SocketAddrV4::new(host, port))
            }
            Target::Underlay(target) => (host, self.borrowed_port().to_be_bytes(), target),
        };
        let translated = FiveTuple {
            source,
            source_port,
            destination: *target.ip(),
            destination_port: target.port().to_be_bytes(),
            ..self.tuple
        };
        let allowed = matches!(self.tuple.protocol, TCP | UDP)
            && self.tuple.destination_port == service.port.to_be_bytes();
        let mut pair = Pair { allowed, ..self.pair(translated, from, HOST, None) };
        // What comes back to the host is looked for among flows only at ports that such flows have.
        if matches!(service.target, Target::Underlay(_)) {
            pair.reverse.flags |= flag::LINK_LOCAL;
        }
        pair
    }

    /// A port of the host for a flow. A real agent binds a socket to it, so that nobody else gets it.
    fn borrowed_port(&self) -> u16 {
        61_000 + (self.tuple.hash() % 4000) as u16
    }

    /// From the host to a pod by its metadata address.
    fn from_host(&self, from: End) -> Option<Pair> {
        let pods = &self.topology.nodes[self.own].pods;
        let pod = (0..pods.len()).find(|pod| metadata_address(*pod) == self.tuple.destination)?;
        let translated = FiveTuple {
            source: self.topology.link_local.first()?.address,
            destination: pods[pod].address,
            ..self.tuple
        };
        let to = local(PodId { node: self.own, pod }, vrf(pods[pod].network));
        Some(self.pair(translated, from, to, None))
    }

    /// A flow that passes: packets from one end become `translated`, and answers come from the other end.
    fn pair(&self, translated: FiveTuple, from: End, to: End, member: Option<usize>) -> Pair {
        let direction = |tuple: FiveTuple, becomes: &FiveTuple, from: End, to: End, member| Direction {
            tuple,
            key_nexthop: from.key,
            source_nexthop: from.source,
            vrf: from.vrf,
            other_vrf: (to.vrf != from.vrf).then_some(to.vrf),
            flags: changes(&tuple, becomes),
            member,
        };
        Pair {
            allowed: true,
            forward: direction(self.tuple, &translated, from, to, member),
            reverse: direction(translated.reversed(), &self.tuple.reversed(), to, from, None),
        }
    }
}

/// Packets of a pod of this node.
fn local(id: PodId, vrf: i32) -> End {
    let nexthop = nexthop::routed(id.pod);
    End { key: nexthop, source: nexthop, vrf }
}

/// The flags of a translation. An echo's identifier is never translated.
fn changes(from: &FiveTuple, to: &FiveTuple) -> u16 {
    [
        (from.source != to.source, flag::SNAT),
        (from.source_port != to.source_port, flag::SPAT),
        (from.destination != to.destination, flag::DNAT),
        (from.destination_port != to.destination_port, flag::DPAT),
    ]
    .iter()
    .filter(|(changed, _)| *changed)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// A tunnel nexthop that accepts what a node sends; the kinds differ in nothing that the check looks at.
fn tunnel_to(topology: &Topology, outer_source: Ipv4Addr) -> i32 {
    let node = topology.nodes.iter().position(|node| node.address == outer_source);
    node.map_or(ANY_SOURCE, |node| nexthop::tunnel(node, Tunnel::MplsOverUdp))
}

/// What answers from outside of a network come by.
fn way_out(topology: &Topology, network: usize) -> i32 {
    topology.gateway_of(network).map_or(ANY_SOURCE, |node| nexthop::tunnel(node, Tunnel::MplsOverUdp))
}

#[cfg(test)]
mod tests;
