//! Interfaces of our own that stand for uplinks on the host's side while there are several (forwarding.md 9.7).

use vr_types::{Release, VifId};

use super::{Datapath, GivenMac, Tables, VifSpec};
use crate::vif::{VifFlags, VifKind};

/// Transport of a network device of the host.
const TRANSPORT_ETH: u8 = 1;

impl Tables {
    /// Each of several uplinks has a companion; a single one has none. Called after an interface of this type has been
    /// added or removed.
    pub(super) fn update_companions(&mut self, kind: VifKind, datapath: &mut dyn Datapath) {
        if kind != VifKind::Physical || self.work.options.release == Release::R220 {
            return;
        }
        let roles = self.work.roles;
        let several = roles.uplinks().len() > 1;
        for (uplink, companion) in (0..).map(VifId).zip(roles.companions) {
            let wanted = several && roles.uplinks().contains(&uplink);
            match (wanted, companion != VifId::NONE) {
                (true, false) => self.add_companion(uplink, datapath),
                // It is there, so that nothing can go wrong.
                (false, true) => drop(self.vif_delete(companion, "", datapath)),
                _ => {}
            }
        }
    }

    /// Adds the companion `tap<N>` of uplink N at the Nth of the last numbers of the table. Without a port, or when the
    /// number is taken, there is none: packets go to `vhost0` then.
    fn add_companion(&mut self, uplink: VifId, datapath: &mut dyn Datapath) {
        let companions = self.work.roles.companions.len() as u32;
        let number = self.limits.interfaces.checked_sub(companions).map(|first| first + u32::from(uplink.0));
        let Some(id) = number.and_then(|number| u16::try_from(number).ok()).map(VifId) else { return };
        let Some(of) = self.work.vif(uplink).filter(|_| self.work.vif(id).is_none()) else { return };
        let kind = VifKind::Gateway;
        let spec = VifSpec {
            transport: TRANSPORT_ETH,
            flags: of.flags & VifFlags::MOCK_DEVICE,
            vrf: Some(of.vrf),
            mac: GivenMac::Mac(of.mac),
            mtu: of.mtu,
            ..VifSpec::new(id, kind, &format!("tap{}", uplink.0))
        };
        let added = self.vif_create(&spec, kind, datapath).is_ok();
        if let Some(companion) = self.work.roles.companions.get_mut(uplink.index()).filter(|_| added) {
            *companion = id;
        }
    }
}
