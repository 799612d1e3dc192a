//! Parse and decapsulation stage for frames from the underlay.

use vr_frame::{BATCH, Packet};
use vr_tables::bridge::{BridgeCounting, BridgeKey};
use vr_tables::flow::Source;
use vr_tables::nexthop::{NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot};
use vr_tables::vif::Vif;
use vr_types::{BridgeIndex, Label, Mac, NexthopId, VifId, Vni, VrfId};

use super::guest::{changes_connection, key};
use super::meta::{Egress, PktMeta};
use super::{Lane, positions};
use crate::full::Full;

/// Outer Ethernet, IPv4 without options, and eight bytes of UDP, or GRE with a label.
const OUTER: usize = 14 + 20 + 8;
/// Nexthops of guests with these flags have rules that only the full path knows.
const SPECIAL: NexthopFlags = NexthopFlags::MCAST
    .union(NexthopFlags::RELAXED_POLICY)
    .union(NexthopFlags::FLOW_LOOKUP)
    .union(NexthopFlags::ROUTE_LOOKUP);
/// In place of a nexthop: the bridge entry has to be looked up.
const UNRESOLVED: u32 = u32::MAX;

/// The last address that was found to be ours, with its VRF and the epoch of the tables that said so.
#[derive(Default)]
pub(crate) struct LocalAddress(Option<(VrfId, u32, [u8; 4])>);

impl LocalAddress {
    #[inline]
    fn is(&self, vrf: VrfId, epoch: u32, address: [u8; 4]) -> bool {
        self.0 == Some((vrf, epoch, address))
    }
}

/// Asks for the lines that hold outer and inner headers.
pub(super) fn prefetch_headers(lane: Lane, batch: &[Packet]) {
    for position in positions(lane) {
        batch[position].frame.prefetch(0);
        batch[position].frame.prefetch(64);
    }
}

/// Packets of one batch, and what the ones before have shown about the next ones.
pub(super) struct Arrivals<'a> {
    full: &'a Full<'a>,
    counting: BridgeCounting<'a>,
    local: &'a mut LocalAddress,
    vif: &'a Vif,
    epoch: u32,
    /// The last VNI that leads to a bridge, and its VRF.
    vni: Option<(u32, VrfId)>,
    /// The last label that leads to a guest, and the last nexthop of a bridge entry that does.
    label: Option<(u32, Guest)>,
    entry: Option<Guest>,
}

/// What the flow stage has to know of a nexthop that leads to a guest's interface, or to those of several guests.
#[derive(Clone, Copy)]
struct Guest {
    nexthop: NexthopSlot,
    /// Nexthop of the flow key.
    key: NexthopId,
    vrf: VrfId,
    bridged: bool,
    policy: bool,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(full: &'a Full<'a>, local: &'a mut LocalAddress, vif: &'a Vif) -> Self {
        let (epoch, counting) = (full.tables.flow_epoch(vif.vrf), full.bridge.counting(full.worker));
        Self { full, counting, local, vif, epoch, vni: None, label: None, entry: None }
    }

    /// Fills in keys and what is known of the nexthop; gives the tunnel packets for guests that are plain enough.
    pub(super) fn parse_and_decapsulate(
        &mut self,
        lane: Lane,
        batch: &[Packet],
        meta: &mut [PktMeta; BATCH],
    ) -> Lane {
        let mut plain = 0;
        for position in positions(lane) {
            let taken = self.parse_one(&batch[position], &mut meta[position]);
            plain |= u64::from(taken.is_some()) << position;
        }
        plain
    }

    #[inline]
    fn parse_one(&mut self, packet: &Packet, meta: &mut PktMeta) -> Option<()> {
        let bytes = packet.frame.bytes();
        let outer: &[u8; OUTER] = bytes.first_chunk()?;
        let plain = [outer[12], outer[13], outer[14]] == [0x08, 0x00, 0x45];
        let fragment = u16::from_be_bytes([outer[20], outer[21]]) & 0x3fff != 0;
        if outer[0] & 1 != 0 || !plain || fragment || outer[22] <= 1 || !packet.offload.is_plain() {
            return None;
        }
        if !self.is_ours([outer[30], outer[31], outer[32], outer[33]]) {
            return None;
        }
        meta.source = Source::inet([outer[26], outer[27], outer[28], outer[29]]);
        match (outer[23], u16::from_be_bytes([outer[36], outer[37]])) {
            (17, 6635 | 51234) => self.labelled(bytes, 42, meta),
            (17, 4789) => self.vxlan(bytes, meta),
            (47, 0x8847) if [outer[34], outer[35]] == [0, 0] => self.labelled(bytes, 38, meta),
            _ => None,
        }
    }

    /// Whether a receive nexthop of the underlay covers the address.
    #[inline]
    fn is_ours(&mut self, address: [u8; 4]) -> bool {
        if self.local.is(self.vif.vrf, self.epoch, address) {
            return true;
        }
        let tables = self.full.tables;
        let route = tables.route(self.vif.vrf, address);
        let ours = tables.nexthop(route.nexthop).is_some_and(|nexthop| {
            matches!(nexthop.action, NexthopAction::Receive(_))
                && nexthop.family == NexthopFamily::Inet
                && nexthop.flags.contains(NexthopFlags::VALID)
        });
        if ours {
            self.local.0 = Some((self.vif.vrf, self.epoch, address));
        }
        ours
    }

    /// A frame behind a VXLAN header. The line of its bridge entry is on its way afterwards.
    #[inline]
    fn vxlan(&mut self, bytes: &[u8], meta: &mut PktMeta) -> Option<()> {
        let header: &[u8; 14] = bytes.get(42..)?.first_chunk()?;
        // The valid bit and nothing that only the full path knows.
        if header[0] & 0x09 != 0x08 {
            return None;
        }
        let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
        let vrf = match self.vni {
            Some((last, vrf)) if last == vni => vrf,
            _ => self.bridge_domain(vni)?,
        };
        meta.mac = Mac([header[8], header[9], header[10], header[11], header[12], header[13]]);
        meta.vrf = vrf.0;
        meta.nexthop = UNRESOLVED;
        meta.flow = self.full.bridge.locate(BridgeKey::new(vrf, meta.mac));
        inner(bytes, 50, 14, meta)
    }

    #[cold]
    fn bridge_domain(&mut self, vni: u32) -> Option<VrfId> {
        let translate = self.full.tables.nexthop(self.full.tables.vni(Vni(vni))?)?;
        let bridged = matches!(translate.action, NexthopAction::VrfTranslate)
            && translate.family == NexthopFamily::Bridge
            && translate.flags.contains(NexthopFlags::VALID)
            && !translate.wants_flow();
        self.vni = bridged.then_some((vni, translate.vrf));
        bridged.then_some(translate.vrf)
    }

    /// A packet behind the label at offset `at`.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "measured: called for every packet, in two places")]
    fn labelled(&mut self, bytes: &[u8], at: usize, meta: &mut PktMeta) -> Option<()> {
        let word = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
        let single = word & 0x100 != 0;
        if !single || word as u8 <= 1 {
            return None;
        }
        if self.label.as_ref().is_none_or(|(last, _)| *last != word >> 12) {
            self.label = Some((word >> 12, guest_of_label(self.full, Label(word >> 12))?));
        }
        let (_, guest) = self.label.as_ref()?;
        inner(bytes, at + 4, if guest.bridged { 14 } else { 0 }, meta)?;
        meta.bridge = BridgeIndex::NONE.0;
        meta.vrf = guest.vrf.0;
        guest.fill_in(meta);
        Some(())
    }

    /// Looks up the bridge entries of frames behind a VNI; gives the packets that go to a guest.
    pub(super) fn resolve(&mut self, lane: Lane, meta: &mut [PktMeta; BATCH]) -> Lane {
        let mut known = lane;
        if self.vni.is_none() {
            return known;
        }
        for position in positions(lane) {
            let meta = &mut meta[position];
            if meta.nexthop == UNRESOLVED && self.resolve_one(meta).is_none() {
                known &= !(1 << position);
            }
        }
        known
    }

    #[inline]
    fn resolve_one(&mut self, meta: &mut PktMeta) -> Option<()> {
        let key = BridgeKey::new(VrfId(meta.vrf), meta.mac);
        let entry = self.full.bridge.lookup_at(meta.flow, key)?;
        if self.entry.is_none_or(|guest| guest.nexthop != entry.nexthop) {
            self.entry = Some(guest(self.full, entry.nexthop).filter(|guest| guest.bridged)?);
        }
        let guest = self.entry.as_ref()?;
        if guest.vrf.0 != meta.vrf {
            return None;
        }
        meta.bridge = entry.index.0;
        self.counting.prefetch(entry.index);
        guest.fill_in(meta);
        Some(())
    }
}

impl Guest {
    #[inline]
    const fn fill_in(&self, meta: &mut PktMeta) {
        meta.nexthop = self.nexthop.0;
        meta.label = PktMeta::NO_LABEL;
        meta.key[2] = self.key.0;
        meta.policy = self.policy;
    }
}

fn guest_of_label(full: &Full<'_>, label: Label) -> Option<Guest> {
    let slot = full.tables.label(label)?;
    let control_word = full.tables.nexthop(slot)?.flags.contains(NexthopFlags::L2_CONTROL_DATA);
    guest(full, slot).filter(|guest| !(guest.bridged && control_word))
}

fn guest(full: &Full<'_>, slot: NexthopSlot) -> Option<Guest> {
    let nexthop = full.tables.nexthop(slot)?;
    let usable = nexthop.flags.contains(NexthopFlags::VALID)
        && !nexthop.flags.intersects(SPECIAL)
        && nexthop.vrf != VrfId::NONE;
    let key = match &nexthop.action {
        NexthopAction::Encap(encap) => without_aggregates(full, encap.vif)?.nexthop,
        NexthopAction::Composite(composite) if nexthop.flags.contains(NexthopFlags::COMPOSITE_ECMP) => {
            for member in composite.members.iter().flatten() {
                if let NexthopAction::Encap(encap) = &full.tables.nexthop(member.nexthop)?.action {
                    without_aggregates(full, encap.vif)?;
                }
            }
            nexthop.id
        }
        _ => return None,
    };
    usable.then_some(())?;
    Some(Guest {
        nexthop: slot,
        key,
        vrf: nexthop.vrf,
        bridged: match nexthop.family {
            NexthopFamily::Inet => false,
            NexthopFamily::Bridge => true,
            NexthopFamily::Other(_) => return None,
        },
        policy: nexthop.flags.contains(NexthopFlags::POLICY),
    })
}

/// An interface. The key of an aggregate is made by the full path only.
fn without_aggregates<'a>(full: &Full<'a>, vif: VifId) -> Option<&'a Vif> {
    full.tables.vif(vif).filter(|vif| vif.details.fat_rules.is_none())
}

/// The inner packet at offset `at`, behind an Ethernet header of `ethernet` bytes or none.
#[inline]
fn inner(bytes: &[u8], at: usize, ethernet: usize, meta: &mut PktMeta) -> Option<()> {
    if ethernet != 0 {
        let frame: &[u8; 14] = bytes.get(at..)?.first_chunk()?;
        if frame[0] & 1 != 0 || [frame[12], frame[13]] != [0x08, 0x00] {
            return None;
        }
        meta.egress = Egress::Bridged;
    } else {
        meta.egress = Egress::Delivered;
    }
    let inet: &[u8; 28] = bytes.get(at + ethernet..)?.first_chunk()?;
    if inet[0] != 0x45 || !key(inet, &mut meta.key) {
        return None;
    }
    if meta.is_tcp() && changes_connection(bytes, at + ethernet + 20) {
        return None;
    }
    meta.inner = at as u16;
    meta.translated = false;
    Some(())
}

#[cfg(test)]
mod tests {
    use vr_types::VrfId;

    use super::LocalAddress;

    #[test]
    fn an_address_is_ours_only_where_and_as_long_as_that_was_found() {
        assert!(!LocalAddress::default().is(VrfId(0), 0, [0; 4]), "nothing was found");
        let found = LocalAddress(Some((VrfId(0), 7, [1, 2, 3, 4])));
        assert!(found.is(VrfId(0), 7, [1, 2, 3, 4]));
        assert!(!found.is(VrfId(1), 7, [1, 2, 3, 4]), "another VRF");
        assert!(!found.is(VrfId(0), 8, [1, 2, 3, 4]), "other tables");
    }
}
