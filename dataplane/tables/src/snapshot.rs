//! What the workers see of the tables: one immutable snapshot per published batch of commands.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use vr_types::{Label, Mac, MirrorId, NexthopId, VifId, Vni, VrfId};

use crate::bridge::BridgeTable;
use crate::dense::Dense;
use crate::epochs::{NexthopEpochs, NexthopGroup};
use crate::fib::{Fib, Route};
use crate::flow::{Inet6Peers, Source};
use crate::nexthop::{Nexthop, NexthopSlot};
use crate::options::Options;
use crate::vif::{Vif, VifFlags, VifKind};

/// One VRF.
#[derive(Clone, Default)]
pub struct Vrf {
    /// IPv4 routes.
    pub inet: Fib<4>,
    /// IPv6 routes.
    pub inet6: Fib<16>,
    /// Advances with every change of a route or bridge entry of this VRF.
    pub epoch: u32,
}

/// Where mirrored packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The nexthop, by id: it is looked up for every packet.
    pub nexthop: NexthopId,
    /// Flags as given.
    pub flags: u32,
    /// VNI as given, negative for none.
    pub vni: i32,
    /// VLAN as given, negative for none.
    pub vlan: i16,
}

/// The interfaces with a part of their own in forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// `pkt0`.
    pub agent: VifId,
    /// `vhost0`.
    pub host: VifId,
    /// The underlay, first uplink first.
    pub fabric: [VifId; 3],
    /// What stands for the uplink of each number on the host's side, while there are several (forwarding.md 9.7).
    pub companions: [VifId; 3],
    /// IPv6 of the underlay is routed, not cross-connected (forwarding.md 2.2).
    pub inet6_underlay: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            agent: VifId::NONE,
            host: VifId::NONE,
            fabric: [VifId::NONE; 3],
            companions: [VifId::NONE; 3],
            inet6_underlay: false,
        }
    }
}

impl Roles {
    /// The uplinks, first one first.
    #[must_use]
    pub fn uplinks(&self) -> &[VifId] {
        let count = self.fabric.iter().take_while(|uplink| **uplink != VifId::NONE).count();
        &self.fabric[..count]
    }

    /// The uplink that a companion stands for.
    #[must_use]
    pub fn uplink_of(&self, companion: VifId) -> Option<VifId> {
        let of = (0..).map(VifId).zip(self.companions).find(|(_, of)| *of == companion);
        of.map(|(uplink, _)| uplink).filter(|_| companion != VifId::NONE)
    }
}

/// All tables but flows, and where bridge entries are: these two have lock-free readers of their own and change at
/// once.
#[derive(Clone)]
pub struct Snapshot {
    /// Interfaces.
    pub vifs: Dense<Vif>,
    /// Nexthop objects by position.
    pub nexthops: Dense<Nexthop>,
    /// Where the object of an id is, if the id is in use.
    pub nexthop_slots: Dense<NexthopSlot>,
    /// Label to nexthop.
    pub labels: Dense<NexthopSlot>,
    /// Labels from this one on can lead nowhere.
    pub label_limit: u32,
    /// VNI to nexthop.
    pub vnis: Arc<HashMap<Vni, NexthopSlot>>,
    /// Bridge entries of all VRFs.
    pub bridge: Arc<BridgeTable>,
    /// VRFs that have routes.
    pub vrfs: Dense<Vrf>,
    /// Mirror entries.
    pub mirrors: Dense<Mirror>,
    /// Metadata of mirrored flows, by the number in their entries.
    pub flow_metadata: Dense<Arc<[u8]>>,
    /// Special interfaces.
    pub roles: Roles,
    /// Runtime options.
    pub options: Options,
    /// IPv6 addresses of tunnel nexthops.
    pub(crate) peers: Arc<Inet6Peers>,
    /// Advance when nexthops change in what source checks ask of them, and when their slots are free.
    pub nexthop_epochs: NexthopEpochs,
    /// Another one after each reset: interfaces, VRFs and nexthops may have been numbered anew.
    pub incarnation: u32,
    /// The agent has restarted and is programming tables that are not in force yet. It knows nothing of these here:
    /// packets of guests must not ask it.
    pub restarting: bool,
    /// Advances with the rare changes that can alter what flows of every VRF do: interfaces that are no
    /// guest's, and nexthops that lead to ourselves.
    pub epoch: u32,
}

impl Snapshot {
    /// Nothing but bridge entries.
    #[must_use]
    pub fn new(bridge: Arc<BridgeTable>) -> Self {
        Self {
            bridge,
            vifs: Dense::default(),
            nexthops: Dense::default(),
            nexthop_slots: Dense::default(),
            labels: Dense::default(),
            label_limit: u32::MAX,
            vnis: Arc::default(),
            vrfs: Dense::default(),
            mirrors: Dense::default(),
            flow_metadata: Dense::default(),
            roles: Roles::default(),
            options: Options::default(),
            peers: Arc::default(),
            nexthop_epochs: NexthopEpochs::default(),
            incarnation: 0,
            restarting: false,
            epoch: 0,
        }
    }

    /// An interface.
    #[inline]
    #[must_use]
    pub fn vif(&self, id: VifId) -> Option<&Vif> {
        self.vifs.get(id.index())
    }

    /// A nexthop object.
    #[inline]
    #[must_use]
    pub fn nexthop(&self, slot: NexthopSlot) -> Option<&Nexthop> {
        self.nexthops.get(slot.index())
    }

    /// The nexthop that has this id now.
    #[inline]
    #[must_use]
    pub fn nexthop_by_id(&self, id: NexthopId) -> Option<&Nexthop> {
        self.nexthop(self.nexthop_slot(id)?)
    }

    /// Where the nexthop is that has this id now.
    #[inline]
    #[must_use]
    pub fn nexthop_slot(&self, id: NexthopId) -> Option<NexthopSlot> {
        self.nexthop_slots.get(id.index()).copied()
    }

    /// The other end of a tunnel, as flows remember it.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Source {
        self.peers.source(address)
    }

    /// The nexthop of a label.
    #[inline]
    #[must_use]
    pub fn label(&self, label: Label) -> Option<NexthopSlot> {
        self.labels.get(label.index()).copied()
    }

    /// The nexthop of a VNI.
    #[inline]
    #[must_use]
    pub fn vni(&self, vni: Vni) -> Option<NexthopSlot> {
        self.vnis.get(&vni).copied()
    }

    /// Longest match for an IPv4 address; the discard nexthop if there is none.
    #[inline]
    #[must_use]
    pub fn route(&self, vrf: VrfId, address: [u8; 4]) -> Route {
        self.vrfs.get(vrf.index()).map_or(Route::MISS, |vrf| vrf.inet.lookup(&address))
    }

    /// Longest match for an IPv6 address; the discard nexthop if there is none.
    #[inline]
    #[must_use]
    pub fn route6(&self, vrf: VrfId, address: [u8; 16]) -> Route {
        self.vrfs.get(vrf.index()).map_or(Route::MISS, |vrf| vrf.inet6.lookup(&address))
    }

    /// What an action compiled in `vrf` depends on but for its source, as a number: the parts only ever grow,
    /// so their sum changes whenever one of them does.
    #[inline]
    #[must_use]
    pub fn flow_epoch(&self, vrf: VrfId) -> u32 {
        let vrf = self.vrfs.get(vrf.index()).map_or(0, |vrf| vrf.epoch);
        self.epoch.wrapping_add(vrf)
    }

    /// Changes when the nexthop in a slot does, in where it leads or by having a successor, or when its id no
    /// longer leads to it.
    #[must_use]
    pub const fn nexthop_epoch(&self, slot: NexthopSlot) -> u32 {
        self.epoch.wrapping_add(self.nexthop_epochs.of(NexthopGroup::of(slot)))
    }

    pub(crate) const fn advance_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// A mirror entry.
    #[must_use]
    pub fn mirror(&self, id: MirrorId) -> Option<&Mirror> {
        self.mirrors.get(id.index())
    }

    /// The other side of a cross-connect with one uplink: the first uplink for the host, the host for an uplink.
    #[must_use]
    pub fn cross_connect(&self, vif: &Vif) -> Option<VifId> {
        let peer = match vif.kind {
            VifKind::Host => self.roles.fabric[0],
            VifKind::Physical => self.roles.host,
            _ => VifId::NONE,
        };
        self.vif(peer).map(|peer| peer.id)
    }

    /// The sub-interface of `vif` for frames of this VLAN and source MAC.
    #[must_use]
    pub fn sub_interface(&self, vif: &Vif, vlan: u16, source: Mac) -> Option<&Vif> {
        if vif.flags.contains(VifFlags::SERVICE_IF) {
            return None;
        }
        let subs = &vif.details.sub_interfaces;
        let of = |mac| subs.iter().find(|(v, m, _)| *v == vlan && *m == mac);
        of(source).or_else(|| of(Mac::ZERO)).and_then(|(.., id)| self.vif(*id))
    }
}
