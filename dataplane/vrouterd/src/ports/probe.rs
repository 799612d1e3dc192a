//! What is known of an interface whose port is opened later.

use vr_io::netdev;
use vr_tables::control::{AttachError, Attached};
use vr_tables::vif::{Vif, VifKind};

use super::{Factory, TRANSPORT_PMD};

impl Factory {
    /// What opening the port would say, as far as it can be known without.
    pub(super) fn look_at(&self, vif: &Vif) -> Result<Attached, AttachError> {
        let name = &vif.details.name;
        let there = || match netdev::index(name) {
            Ok(_) => Ok(Attached::default()),
            Err(_) => Err(AttachError::NoDevice(name.clone())),
        };
        match vif.kind {
            VifKind::Stats | VifKind::Vlan => Err(AttachError::Unsupported),
            _ if self.mock => Ok(Attached::default()),
            VifKind::Physical => Ok(self.look_at_fabric(vif)?),
            VifKind::Virtual if vif.details.transport != TRANSPORT_PMD => there(),
            VifKind::Gateway | VifKind::XenLinkLocal => {
                Ok(Attached { mac: netdev::mac(name).ok(), mtu: None })
            }
            _ => Ok(Attached::default()),
        }
    }
}
