use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vr_types::{Mac, MirrorId, NexthopId, VifId, VrfId};

use super::{CommandError, Datapath, GivenMac, Tables};
use crate::fat_flow::FatRules;
use crate::stats::Cores;
use crate::vif::{FatFlow, ServiceVlan, Vif, VifDetails, VifFlags, VifKind};

/// VLANs of a service interface.
pub(super) const SERVICE_VLANS: usize = 1024;
/// Longest name in bytes.
const NAME_LEN: usize = 63;
/// Source MACs of a sub-interface.
const SOURCE_MACS: usize = 4;
/// Excluded prefixes of flow aggregation, by family.
const EXCLUDED: usize = 3;
/// Longest metadata of mirrored frames.
const MIRROR_METADATA: usize = 255;

/// An interface as the agent describes it (control.md 4.3).
#[derive(Clone, Debug)]
pub struct VifSpec {
    /// Its number.
    pub id: VifId,
    /// Its type, `None` for a number that is none.
    pub kind: Option<VifKind>,
    /// Transport, 0 to 3.
    pub transport: u8,
    /// Flags.
    pub flags: VifFlags,
    /// VRF; `None` leaves it as it is.
    pub vrf: Option<VrfId>,
    /// VRF of group MACs; `None` leaves it as it is.
    pub mcast_vrf: Option<VrfId>,
    /// Flow key nexthop.
    pub nexthop: NexthopId,
    /// MTU with Ethernet header; 0 for the default, or to leave it as it is.
    pub mtu: u32,
    /// Name; bytes beyond the 63rd are cut.
    pub name: String,
    /// MAC.
    pub mac: GivenMac,
    /// IPv4 address.
    pub ip: Ipv4Addr,
    /// IPv6 address.
    pub ip6: Ipv6Addr,
    /// Mirror entry; counts with a mirror flag.
    pub mirror: MirrorId,
    /// QoS map, negative for none.
    pub qos_map: i16,
    /// VLAN that a sub-interface receives.
    pub vlan: u16,
    /// VLAN that a sub-interface pushes.
    pub outer_vlan: u16,
    /// The interface below a sub-interface.
    pub parent: VifId,
    /// Source MACs of a sub-interface, six bytes each.
    pub source_macs: Vec<u8>,
    /// Device number.
    pub os_index: u32,
    /// PBB service.
    pub isid: u32,
    /// PBB MAC.
    pub pbb_mac: GivenMac,
    /// Metadata of mirrored received frames.
    pub mirror_in: Vec<u8>,
    /// Metadata of mirrored sent frames.
    pub mirror_out: Vec<u8>,
    /// Flow aggregation; `None` for lists that do not fit together.
    pub fat_flow: Option<FatFlow>,
    /// Loopback address as the agent sends it.
    pub loopback_ip: u32,
    /// Hardware queues.
    pub hw_queues: Vec<i16>,
    /// Role of the guest's socket.
    pub vhostuser_mode: u8,
}

impl VifSpec {
    /// An interface with nothing but number, type and name.
    #[must_use]
    pub fn new(id: VifId, kind: VifKind, name: &str) -> Self {
        Self {
            id,
            kind: Some(kind),
            transport: 0,
            flags: VifFlags::empty(),
            vrf: None,
            mcast_vrf: None,
            nexthop: NexthopId::DISCARD,
            mtu: 0,
            name: name.to_owned(),
            mac: GivenMac::Absent,
            ip: Ipv4Addr::UNSPECIFIED,
            ip6: Ipv6Addr::UNSPECIFIED,
            mirror: MirrorId::NONE,
            qos_map: -1,
            vlan: u16::MAX,
            outer_vlan: u16::MAX,
            parent: VifId::NONE,
            source_macs: Vec::new(),
            os_index: 0,
            isid: 0,
            pbb_mac: GivenMac::Absent,
            mirror_in: Vec::new(),
            mirror_out: Vec::new(),
            fat_flow: Some(FatFlow::default()),
            loopback_ip: 0,
            hw_queues: Vec::new(),
            vhostuser_mode: 0,
        }
    }

    fn source_macs(&self) -> Result<Vec<Mac>, CommandError> {
        let (macs, rest) = self.source_macs.as_chunks::<6>();
        if !rest.is_empty() || macs.len() > SOURCE_MACS {
            return Err(CommandError::Invalid("the list of source MACs is malformed"));
        }
        Ok(macs.iter().map(|mac| Mac(*mac)).collect())
    }

    fn fat_flow(&self) -> Result<FatFlow, CommandError> {
        self.fat_flow
            .as_ref()
            .filter(|fat| fat.exclude_ip.len() <= EXCLUDED && fat.exclude_ip6.len() <= EXCLUDED)
            .cloned()
            .ok_or(CommandError::Invalid("the lists of flow aggregation are malformed"))
    }

    /// Flags of the request as they are stored, the forwarder's own left out.
    fn stored_flags(&self) -> VifFlags {
        let flags = self.flags.difference(VifFlags::OWNED);
        if flags.intersects(VifFlags::L3 | VifFlags::L2) {
            flags
        } else {
            flags | VifFlags::L3 | VifFlags::L2
        }
    }

    fn stored_mirror(&self) -> MirrorId {
        let mirrors = self.flags.intersects(VifFlags::MIRROR_RX | VifFlags::MIRROR_TX);
        if mirrors { self.mirror } else { MirrorId::NONE }
    }
}

fn cut(text: &str, longest: usize) -> String {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

fn metadata(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(MIRROR_METADATA)].to_vec()
}

impl Tables {
    /// Adds an interface and opens its port, or changes the interface that has its number.
    ///
    /// # Errors
    /// [`CommandError`] as control.md 4.3 says; nothing remains of an interface that could not be added.
    pub fn vif_add(&mut self, spec: &VifSpec, datapath: &mut dyn Datapath) -> Result<(), CommandError> {
        self.begin();
        if u32::from(spec.id.0) >= self.limits.interfaces {
            return Err(CommandError::Invalid("the interface number is beyond the table"));
        }
        let kind = spec.kind.ok_or(CommandError::Invalid("there is no interface of this type"))?;
        if spec.transport > 3 {
            // Nobody expects an error here: the original answers so too.
            return Ok(());
        }
        match self.work.vif(spec.id).cloned() {
            Some(vif) => self.vif_change(spec, vif, datapath),
            None => self.vif_create(spec, kind, datapath),
        }
    }

    pub(super) fn vif_create(
        &mut self,
        spec: &VifSpec,
        kind: VifKind,
        datapath: &mut dyn Datapath,
    ) -> Result<(), CommandError> {
        if spec.mac == GivenMac::Malformed {
            return Err(CommandError::Invalid("the MAC has not six bytes"));
        }
        self.check_role(spec, kind)?;
        let fat_flow = spec.fat_flow()?;
        let source_macs = spec.source_macs()?;
        if kind == VifKind::VirtualVlan {
            self.check_sub_interface(spec.parent, spec.vlan, &source_macs)?;
        }
        let mut vif = Self::new_vif(spec, kind, source_macs);
        self.set_fat_flow(Arc::make_mut(&mut vif.details), fat_flow);
        if self.mock && matches!(kind, VifKind::Host | VifKind::Agent | VifKind::Physical) {
            vif.flags |= VifFlags::MOCK_DEVICE;
        }
        let device = self.attach(&vif, datapath)?;
        if spec.mtu == 0 {
            vif.mtu = device.mtu.unwrap_or(vif.mtu);
        }
        if vif.mac.is_zero() {
            vif.mac = device.mac.unwrap_or(vif.mac);
        }
        let id = vif.id;
        self.stats.clear_vif(id, Cores::All);
        self.work.vifs.set(id.index(), Some(vif));
        self.enter_role(id, kind);
        self.vif_changed(id, kind);
        self.update_companions(kind, datapath);
        Ok(())
    }

    fn new_vif(spec: &VifSpec, kind: VifKind, source_macs: Vec<Mac>) -> Vif {
        let is_sub = kind == VifKind::VirtualVlan;
        let flags = spec.stored_flags();
        let details = VifDetails {
            name: cut(&spec.name, NAME_LEN),
            transport: spec.transport,
            os_index: if spec.os_index == u32::MAX { 0 } else { spec.os_index },
            source_macs,
            service_vlans: service_vlans(flags, &[]),
            is_down: false,
            monitor: None,
            sub_interfaces: Vec::new(),
            isid: spec.isid,
            pbb_mac: spec.pbb_mac.non_zero().unwrap_or(Mac::ZERO),
            mirror_in: metadata(&spec.mirror_in),
            mirror_out: metadata(&spec.mirror_out),
            fat_flow: FatFlow::default(),
            fat_rules: None,
            loopback_ip: spec.loopback_ip,
            hw_queues: spec.hw_queues.clone(),
            vhostuser_mode: spec.vhostuser_mode,
        };
        Vif {
            id: spec.id,
            kind,
            version: 0,
            flags,
            vrf: spec.vrf.unwrap_or(VrfId::NONE),
            mcast_vrf: spec.mcast_vrf.unwrap_or(VrfId::NONE),
            nexthop: spec.nexthop,
            mac: match spec.mac {
                GivenMac::Mac(mac) => mac,
                _ => Mac::ZERO,
            },
            mtu: if spec.mtu == 0 { kind.default_mtu() } else { spec.mtu },
            mirror: spec.stored_mirror(),
            qos_map: spec.qos_map,
            vlan: if is_sub { spec.vlan } else { 0 },
            outer_vlan: if is_sub { spec.outer_vlan } else { 0 },
            parent: if is_sub { spec.parent } else { VifId::NONE },
            ip: spec.ip,
            ip6: spec.ip6,
            details: Arc::new(details),
        }
    }

    fn vif_change(
        &mut self,
        spec: &VifSpec,
        mut vif: Vif,
        datapath: &mut dyn Datapath,
    ) -> Result<(), CommandError> {
        let fat_flow = spec.fat_flow()?;
        let source_macs = spec.source_macs()?;
        if spec.pbb_mac == GivenMac::Malformed {
            return Err(CommandError::Invalid("the PBB MAC has not six bytes"));
        }
        // What the forwarder decides by itself survives a change.
        let mut kept = VifFlags::OWNED | VifFlags::MOCK_DEVICE | VifFlags::MONITORED;
        kept.set(VifFlags::XCONNECT, matches!(vif.kind, VifKind::Host | VifKind::Physical));
        vif.flags = spec.stored_flags() | (vif.flags & kept);
        vif.vrf = spec.vrf.unwrap_or(vif.vrf);
        vif.mcast_vrf = spec.mcast_vrf.unwrap_or(vif.mcast_vrf);
        vif.mtu = if spec.mtu == 0 { vif.mtu } else { spec.mtu };
        vif.nexthop = spec.nexthop;
        vif.qos_map = spec.qos_map;
        vif.mirror = spec.stored_mirror();
        (vif.ip, vif.ip6) = (spec.ip, spec.ip6);
        let details = Arc::make_mut(&mut vif.details);
        details.service_vlans = service_vlans(vif.flags, &details.service_vlans);
        details.isid = spec.isid;
        if let GivenMac::Mac(mac) = spec.pbb_mac {
            details.pbb_mac = mac;
        }
        details.mirror_in = metadata(&spec.mirror_in);
        details.mirror_out = metadata(&spec.mirror_out);
        self.set_fat_flow(details, fat_flow);
        let (id, kind) = (vif.id, vif.kind);
        if kind == VifKind::VirtualVlan && details.source_macs != source_macs {
            details.source_macs = source_macs;
            let sub = vif.clone();
            self.leave_parent(&sub);
            self.join_parent(&sub);
        }
        if !self.is_restarting() {
            datapath.changed(&vif);
        }
        self.work.vifs.set(id.index(), Some(vif));
        if kind.is_host_side() {
            self.note_inet6_underlay(id);
        }
        self.vif_changed(id, kind);
        Ok(())
    }

    fn set_fat_flow(&self, details: &mut VifDetails, fat_flow: FatFlow) {
        details.fat_rules = FatRules::new(&fat_flow, self.work.options.release);
        details.fat_flow = fat_flow;
    }

    /// Removes an interface, by its name if one is given (its own, or `vif0/` and its number), and closes its
    /// port. The removal is published.
    ///
    /// # Errors
    /// [`CommandError::NoDevice`] when it is not there.
    pub fn vif_delete(
        &mut self,
        id: VifId,
        name: &str,
        datapath: &mut dyn Datapath,
    ) -> Result<(), CommandError> {
        self.begin();
        let id = if name.is_empty() { Some(id) } else { self.vif_by_name(name) };
        let vif = id.and_then(|id| self.work.vif(id)).cloned().ok_or(CommandError::NoDevice("interface"))?;
        self.work.vifs.set(vif.id.index(), None);
        self.leave_role(&vif);
        self.vif_changed(vif.id, vif.kind);
        if !self.is_restarting() {
            self.publish();
            datapath.detach(vif.id);
        }
        self.update_companions(vif.kind, datapath);
        Ok(())
    }

    fn vif_by_name(&self, name: &str) -> Option<VifId> {
        let named = self.work.vifs.iter().find(|(_, vif)| vif.details.name == name).map(|(_, vif)| vif.id);
        named.or_else(|| name.strip_prefix("vif0/")?.parse().ok().map(VifId))
    }

    /// An interface.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] when it is not there.
    pub fn vif(&self, id: VifId) -> Result<&Vif, CommandError> {
        self.work.vif(id).ok_or(CommandError::NotFound("interface"))
    }

    /// The interface with this device number.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] when there is none.
    pub fn vif_by_os_index(&self, os_index: u32) -> Result<&Vif, CommandError> {
        let found = self.work.vifs.iter().find(|(_, vif)| vif.details.os_index == os_index);
        found.map(|(_, vif)| vif).ok_or(CommandError::NotFound("interface"))
    }

    /// Interfaces with numbers from `first` on, in order.
    pub fn vifs_from(&self, first: usize) -> impl Iterator<Item = &Vif> {
        self.work.vifs.iter_from(first).map(|(_, vif)| vif)
    }

    /// Something that flows may depend on has changed for an interface: for those whose packets come from
    /// it, if it is a guest's, else for all.
    pub(super) fn vif_changed(&mut self, id: VifId, kind: VifKind) {
        if kind.is_guest() {
            self.renew_vif(id);
        } else {
            self.work.advance_epoch();
        }
        self.changed();
    }

    /// The interface is another source from now on.
    pub(super) fn renew_vif(&mut self, id: VifId) {
        self.vif_version = self.vif_version.wrapping_add(1);
        if self.vif_version == 0 {
            // Versions come again from here on, and what was compiled for them must not.
            self.work.advance_epoch();
        }
        if let Some(vif) = self.work.vifs.get_mut(id.index()) {
            vif.version = self.vif_version;
        }
    }
}

/// The VLAN table that the flags ask for: what there was, a new one, or none.
pub(super) fn service_vlans(flags: VifFlags, before: &[Option<ServiceVlan>]) -> Vec<Option<ServiceVlan>> {
    match (flags.contains(VifFlags::SERVICE_IF), before.is_empty()) {
        (false, _) => Vec::new(),
        (true, true) => vec![None; SERVICE_VLANS],
        (true, false) => before.to_vec(),
    }
}
