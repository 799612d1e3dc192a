use std::net::IpAddr;

use vr_types::{NexthopId, VifId, VrfId};

use super::nexthop_build::{Built, build};
use super::nexthop_store::NexthopStore;
use super::{CommandError, GivenMac, Tables};
use crate::nexthop::{Nexthop, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot};

/// Type of a nexthop; the numbers are those of messages (forwarding.md 4.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NexthopKind {
    /// Never used.
    Dead = 0,
    /// For the host.
    Receive = 1,
    /// To a local interface.
    Encap = 2,
    /// Into a tunnel.
    Tunnel = 3,
    /// Ask the agent for the neighbour.
    Resolve = 4,
    /// Drop.
    Discard = 5,
    /// Several nexthops.
    Composite = 6,
    /// Go on in another VRF.
    VrfTranslate = 7,
    /// Our MAC: route the packet.
    L2Receive = 8,
}

impl NexthopKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Dead,
            1 => Self::Receive,
            2 => Self::Encap,
            3 => Self::Tunnel,
            4 => Self::Resolve,
            5 => Self::Discard,
            6 => Self::Composite,
            7 => Self::VrfTranslate,
            8 => Self::L2Receive,
            _ => return None,
        })
    }
}

/// A nexthop as the agent describes it. Which fields count depends on its type (control.md 4.4); those that
/// do not are empty in what [`Tables::nexthop`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexthopSpec {
    /// Its id.
    pub id: NexthopId,
    /// Its type.
    pub kind: NexthopKind,
    /// What its packets start with.
    pub family: NexthopFamily,
    /// Flags.
    pub flags: NexthopFlags,
    /// VRF, [`VrfId::NONE`] if none.
    pub vrf: VrfId,
    /// Interfaces: one, or one per underlay link. Numbers that no interface can have are
    /// [`VifId::NONE`].
    pub interfaces: Vec<VifId>,
    /// Layer 2 header to write; with several underlay links theirs one after the other.
    pub rewrite: Vec<u8>,
    /// Which underlay links are usable.
    pub link_valid: Vec<bool>,
    /// Protocol family of the rewrite, remembered for clients.
    pub encap_family: i32,
    /// Our end of a tunnel.
    pub source: Option<IpAddr>,
    /// The other end of a tunnel.
    pub destination: Option<IpAddr>,
    /// Source port of a mirror tunnel, host order.
    pub source_port: u16,
    /// Destination port of a mirror tunnel, host order.
    pub destination_port: u16,
    /// Label below the tunnel's own, with MPLS over MPLS.
    pub transport_label: u32,
    /// Inner destination MAC of L3 VXLAN.
    pub inner_mac: GivenMac,
    /// Backbone MAC.
    pub pbb_mac: GivenMac,
    /// Members of a composite by position, or the direct nexthop; `None` for one that cannot be named.
    pub members: Vec<Option<NexthopId>>,
    /// Label of each member, negative for none.
    pub labels: Vec<i32>,
    /// Fields that choose the member of an ECMP composite, 0 for all.
    pub hash_fields: u8,
    /// Interface to an encryption device.
    pub crypt_interface: VifId,
}

impl NexthopSpec {
    /// A nexthop with nothing but what every type has.
    #[must_use]
    pub const fn new(
        id: NexthopId,
        kind: NexthopKind,
        family: NexthopFamily,
        flags: NexthopFlags,
        vrf: VrfId,
    ) -> Self {
        Self {
            id,
            kind,
            family,
            flags,
            vrf,
            interfaces: Vec::new(),
            rewrite: Vec::new(),
            link_valid: Vec::new(),
            encap_family: 0,
            source: None,
            destination: None,
            source_port: 0,
            destination_port: 0,
            transport_label: 0,
            inner_mac: GivenMac::Absent,
            pbb_mac: GivenMac::Absent,
            members: Vec::new(),
            labels: Vec::new(),
            hash_fields: 0,
            crypt_interface: VifId::NONE,
        }
    }

    /// Nexthop 0.
    #[must_use]
    pub const fn discard() -> Self {
        Self::new(
            NexthopId::DISCARD,
            NexthopKind::Discard,
            NexthopFamily::Inet,
            NexthopFlags::VALID,
            VrfId::FABRIC,
        )
    }
}

/// A nexthop of the table.
#[derive(Clone, Copy, Debug)]
pub struct NexthopView<'a> {
    /// As stored.
    pub spec: &'a NexthopSpec,
    /// How many refer to it, its id included.
    pub references: u32,
}

impl Tables {
    /// Adds a nexthop or changes the one that has its id.
    ///
    /// # Errors
    /// [`CommandError`] as control.md 4.4 says; the table is then as before.
    pub fn nexthop_add(&mut self, spec: &NexthopSpec) -> Result<(), CommandError> {
        self.begin();
        if spec.id.0 >= self.limits.nexthops {
            return Err(CommandError::Invalid("the nexthop id is beyond the table"));
        }
        let present = self.work.nexthop_slots.get(spec.id.index()).copied();
        if spec.id == NexthopId::DISCARD {
            let discards = spec.kind == NexthopKind::Discard && spec.flags.contains(NexthopFlags::VALID);
            return if discards {
                Ok(())
            } else {
                Err(CommandError::Invalid("nexthop 0 drops, whatever else is asked of it"))
            };
        }
        if !spec.flags.contains(NexthopFlags::VALID) {
            return self.nexthop_invalid(spec, present);
        }
        if let Some(slot) = present {
            self.check_change(spec, slot)?;
        }
        let Built { spec: stored, action } = build(&self.work, &self.nexthops, spec)?;
        let nexthop = Nexthop { id: spec.id, flags: spec.flags, family: spec.family, vrf: spec.vrf, action };
        if let Some(slot) = present {
            if NexthopStore::leads_to(&self.work, &nexthop, slot) {
                return Err(CommandError::Invalid("the composite contains itself"));
            }
            let created = self.nexthops.get(slot).map_or(0, |stored| stored.rewrite_len);
            let rewrite_len = if created == 0 { spec.rewrite.len() } else { created };
            self.nexthops.replace(&mut self.work, slot, stored, nexthop, rewrite_len);
        } else {
            self.nexthops.add(&mut self.work, stored, nexthop, spec.rewrite.len())?;
        }
        self.nexthops_changed();
        Ok(())
    }

    fn nexthop_invalid(
        &mut self,
        spec: &NexthopSpec,
        present: Option<NexthopSlot>,
    ) -> Result<(), CommandError> {
        let stored = NexthopSpec::new(spec.id, spec.kind, spec.family, spec.flags, spec.vrf);
        let nexthop = Nexthop {
            id: spec.id,
            flags: spec.flags,
            family: spec.family,
            vrf: spec.vrf,
            action: NexthopAction::Invalid,
        };
        match present {
            Some(slot) => {
                self.nexthops.replace(&mut self.work, slot, stored, nexthop, spec.rewrite.len());
            }
            None => self.nexthops.add(&mut self.work, stored, nexthop, spec.rewrite.len())?,
        }
        self.nexthops_changed();
        Ok(())
    }

    fn check_change(&self, spec: &NexthopSpec, slot: NexthopSlot) -> Result<(), CommandError> {
        let Some(old) = self.nexthops.get(slot) else { return Ok(()) };
        if old.spec.kind != spec.kind {
            return Err(CommandError::Invalid("the type of a valid nexthop cannot change"));
        }
        if (old.spec.flags ^ spec.flags).contains(NexthopFlags::INDIRECT) {
            return Err(CommandError::Invalid("a nexthop cannot become indirect or direct"));
        }
        let (created, given) = (old.rewrite_len, spec.rewrite.len());
        if created != 0 && given != 0 && created != given {
            return Err(CommandError::Invalid("the length of a rewrite cannot change"));
        }
        Ok(())
    }

    /// Takes the id from a nexthop. The object stays while something refers to it.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when no nexthop has the id.
    pub fn nexthop_delete(&mut self, id: NexthopId) -> Result<(), CommandError> {
        self.begin();
        if id == NexthopId::DISCARD {
            return Ok(());
        }
        if !self.nexthops.remove(&mut self.work, id) {
            return Err(CommandError::Invalid("no nexthop has this id"));
        }
        self.nexthops_changed();
        Ok(())
    }

    /// The nexthop of an id.
    ///
    /// # Errors
    /// [`CommandError::NoDevice`] for an id beyond the table, [`CommandError::NotFound`] for one not in use.
    pub fn nexthop(&self, id: NexthopId) -> Result<NexthopView<'_>, CommandError> {
        if id.0 >= self.limits.nexthops {
            return Err(CommandError::NoDevice("nexthop"));
        }
        let slot = self.work.nexthop_slots.get(id.index()).ok_or(CommandError::NotFound("nexthop"))?;
        self.nexthop_view(*slot).ok_or(CommandError::NotFound("nexthop"))
    }

    fn nexthop_view(&self, slot: NexthopSlot) -> Option<NexthopView<'_>> {
        let references = self.nexthops.references(slot);
        self.nexthops.get(slot).map(|stored| NexthopView { spec: &stored.spec, references })
    }

    /// Nexthops with ids from `first` on, in order.
    pub fn nexthops_from(&self, first: NexthopId) -> impl Iterator<Item = NexthopView<'_>> {
        self.work.nexthop_slots.iter_from(first.index()).filter_map(|(_, slot)| self.nexthop_view(*slot))
    }

    /// How many nexthop ids are in use.
    #[must_use]
    pub fn nexthop_count(&self) -> usize {
        self.nexthops.len()
    }

    fn nexthops_changed(&mut self) {
        self.nexthops_dirty = true;
        self.changed();
    }

    /// Where the nexthop of an id is.
    pub(super) fn nexthop_slot(&self, id: NexthopId) -> Option<NexthopSlot> {
        self.work.nexthop_slots.get(id.index()).copied()
    }

    /// The id under which the object in a slot is, or was, known.
    #[must_use]
    pub fn nexthop_id(&self, slot: NexthopSlot) -> NexthopId {
        self.nexthops.id(slot)
    }
}
