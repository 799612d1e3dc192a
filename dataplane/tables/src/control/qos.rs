//! QoS maps and the forwarding classes that they name.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::small::{ForwardingClass, QosMap};

/// The tables of both.
#[derive(Default)]
pub(super) struct Qos {
    pub(super) maps: BTreeMap<u16, QosMap>,
    pub(super) classes: BTreeMap<u16, ForwardingClass>,
}

impl Qos {
    /// The maps that are not there in both, or write something else.
    pub(super) fn differing(&self, other: &Self) -> HashSet<u16> {
        let all = self.maps.keys().chain(other.maps.keys());
        all.copied().filter(|id| !self.written(*id).eq(other.written(*id))).collect()
    }

    /// What a map writes for each code point; nothing when it is not there.
    fn written(&self, id: u16) -> impl Iterator<Item = Option<ForwardingClass>> {
        let classes = self.maps.get(&id).into_iter().flat_map(|map| {
            let QosMap { dscp, mpls, dot1p } = map;
            dscp.iter().chain(mpls).chain(dot1p)
        });
        classes.map(|class| self.classes.get(&u16::from(*class)).copied())
    }
}
