//! Mirrors, VRFs, VLANs of service interfaces, QoS maps and forwarding classes that are refused
//! (control.md 4.8 to 4.10, 4.14).

use libc::{EINVAL, ENODEV, ENOENT};
use vr_tables::control::{ForwardingClass, QosChange, SideChange};
use vr_tables::snapshot::Mirror;
use vr_tables::vif::ServiceVlan;
use vr_types::{MirrorId, VifId, VrfId};

use crate::support::{ENCAP, GUEST, NO_NEXTHOP, VRF, VRFS, node, refused};

const FREE: VifId = VifId(20);

#[test]
fn mirrors() {
    let mut tables = node();
    let mirror = Mirror { nexthop: ENCAP, flags: 0, vni: -1, vlan: -1 };
    refused(&mut tables, EINVAL, |tables| tables.mirror_add(MirrorId(255), mirror));
    let to_nowhere = Mirror { nexthop: NO_NEXTHOP, ..mirror };
    refused(&mut tables, EINVAL, |tables| tables.mirror_add(MirrorId(1), to_nowhere));
    refused(&mut tables, EINVAL, |tables| tables.mirror_delete(MirrorId(1)));
    assert_eq!(tables.mirror(MirrorId(255)).unwrap_err().errno(), ENODEV);
    assert_eq!(tables.mirror(MirrorId(1)).unwrap_err().errno(), ENOENT);
    tables.mirror_add(MirrorId(1), mirror).unwrap();
    refused(&mut tables, EINVAL, |tables| tables.mirror_add(MirrorId(1), to_nowhere));
    assert_eq!(tables.mirror(MirrorId(1)).unwrap(), mirror);
}

#[test]
fn vrfs() {
    let mut tables = node();
    let keep = SideChange::Keep;
    let beyond = VrfId(VRFS as u16);
    refused(&mut tables, EINVAL, |tables| tables.vrf_add(beyond, keep, keep));
    refused(&mut tables, EINVAL, |tables| tables.vrf_add(VRF, SideChange::Set(FREE), keep));
    refused(&mut tables, EINVAL, |tables| tables.vrf_add(VRF, SideChange::Set(GUEST), SideChange::Set(FREE)));
    refused(&mut tables, EINVAL, |tables| tables.vrf_delete(VRF));
    refused(&mut tables, EINVAL, |tables| tables.vrf_delete(beyond));
    assert_eq!(tables.vrf_entry(VRF).unwrap_err().errno(), ENOENT);
    assert_eq!(tables.vrf_entry(beyond).unwrap_err().errno(), EINVAL);
    tables.vrf_add(VRF, SideChange::Set(GUEST), keep).unwrap();
    refused(&mut tables, EINVAL, |tables| tables.vrf_add(VRF, SideChange::Clear, SideChange::Set(FREE)));
    assert_eq!(tables.vrf_entry(VRF).unwrap().left, Some(GUEST));
}

#[test]
fn vlans_of_service_interfaces() {
    let mut tables = node();
    let entry = Some(ServiceVlan { vrf: VRF, nexthop: ENCAP });
    refused(&mut tables, EINVAL, |tables| tables.vrf_assign(FREE, 5, entry));
    refused(&mut tables, EINVAL, |tables| tables.vrf_assign(GUEST, 1024, entry));
    assert_eq!(tables.vrf_assigned(FREE, 5).unwrap_err().errno(), EINVAL);
    assert_eq!(tables.vrf_assigned(GUEST, 1024).unwrap_err().errno(), EINVAL);
    assert_eq!(tables.vrf_assigned_from(FREE, 0).err().unwrap().errno(), EINVAL);
    tables.vrf_assign(GUEST, 1023, entry).unwrap();
    assert_eq!(tables.vrf_assigned(GUEST, 1023).unwrap(), entry);
}

#[test]
fn qos() {
    let mut tables = node();
    let change = QosChange { dscp: vec![(63, 1), (64, 2)], mpls: vec![(8, 3)], dot1p: vec![(7, 4)] };
    refused(&mut tables, EINVAL, |tables| tables.qos_map_add(4096, &change));
    assert_eq!(tables.qos_map(4096).unwrap_err().errno(), EINVAL);
    assert_eq!(tables.qos_map(1).unwrap_err().errno(), ENOENT);
    tables.qos_map_add(1, &change).unwrap();
    let map = tables.qos_map(1).unwrap();
    assert_eq!((map.dscp[63], map.mpls, map.dot1p[7]), (1, [0; 8], 4), "code points beyond do not count");
    let class = ForwardingClass::default();
    refused(&mut tables, EINVAL, |tables| tables.forwarding_class_add(256, class));
    refused(&mut tables, EINVAL, |tables| tables.forwarding_class_delete(256));
    assert_eq!(tables.forwarding_class(256).unwrap_err().errno(), EINVAL);
    assert_eq!(tables.forwarding_class(255).unwrap_err().errno(), ENOENT);
}
