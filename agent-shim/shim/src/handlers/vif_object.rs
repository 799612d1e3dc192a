//! An interface as clients see it.

use sandesh::constants::response::VR_MESSAGE_PAGE_SIZE;
use sandesh::messages::{DropStatsReq, InterfaceReq};
use sandesh::{Compat, SandeshOp, encoded_len};
use vr_tables::control::{Datapath, DeviceTotals};
use vr_tables::stats::{Cores, Stats};
use vr_tables::vif::{Vif, VifKind};
use vr_types::Mac;

use crate::convert;

/// Cores that are no workers, as the original numbers them: its forwarding cores start at 10.
const SERVICE_CORES: usize = 10;

/// Workers that have an entry of their own in lists.
const LISTED_WORKERS: usize = 64;
/// Encoded bytes of a prefix of flow aggregation, in its four lists: two halves, length, and length of aggregates.
const PREFIX: usize = 18;

/// The object of GET and DUMP; `vifr_vlan_tag` is left to the caller.
pub(super) fn object(vif: &Vif, stats: &Stats, datapath: &dyn Datapath, cores: Cores) -> InterfaceReq {
    let totals = stats.vif(vif.id, cores);
    let port = datapath.port_totals(vif.id, cores);
    let device = match vif.kind {
        VifKind::Physical => datapath.device_totals(vif.id),
        _ => DeviceTotals::default(),
    };
    let details = &vif.details;
    let is_sub = vif.kind == VifKind::VirtualVlan;
    let (ip6_u, ip6_l) = convert::raw_inet6(vif.ip6);
    let mut object = InterfaceReq {
        vifr_core: match cores {
            Cores::All => u32::MAX,
            Cores::One(core) => core as u32,
        },
        vifr_type: vif.kind as i32,
        vifr_flags: vif.flags.bits() as i32,
        vifr_vrf: i32::from(vif.vrf.0),
        vifr_idx: i32::from(vif.id.0),
        vifr_os_idx: details.os_index as i32,
        vifr_mtu: vif.mtu as i32,
        vifr_name: details.name.clone(),
        vifr_ibytes: totals.in_bytes as i64,
        vifr_ipackets: totals.in_packets as i64,
        vifr_ierrors: totals.in_errors.wrapping_add(port.in_errors) as i64,
        vifr_obytes: totals.out_bytes as i64,
        vifr_opackets: totals.out_packets as i64,
        vifr_oerrors: totals.out_errors.wrapping_add(port.out_errors) as i64,
        vifr_queue_ierrors_to_lcore: vec![0; SERVICE_CORES + stats.workers().min(LISTED_WORKERS)],
        vifr_port_ipackets: port.in_packets as i64,
        vifr_port_ierrors: port.in_errors as i64,
        vifr_port_isyscalls: port.in_syscalls as i64,
        vifr_port_inombufs: port.in_no_buffers as i64,
        vifr_port_opackets: port.out_packets as i64,
        vifr_port_oerrors: port.out_errors as i64,
        vifr_port_osyscalls: port.out_syscalls as i64,
        vifr_dev_ibytes: device.in_bytes as i64,
        vifr_dev_ipackets: device.in_packets as i64,
        vifr_dev_ierrors: device.in_errors as i64,
        vifr_dev_inombufs: device.in_no_buffers as i64,
        vifr_dev_obytes: device.out_bytes as i64,
        vifr_dev_opackets: device.out_packets as i64,
        vifr_dev_oerrors: device.out_errors as i64,
        vifr_ref_cnt: 1,
        vifr_mac: vif.mac.0.to_vec(),
        vifr_ip: convert::raw_inet(vif.ip),
        vifr_ip6_u: ip6_u,
        vifr_ip6_l: ip6_l,
        vifr_mir_id: i16::from(vif.mirror.0),
        vifr_speed: -1,
        vifr_duplex: -1,
        vifr_vlan_id: if is_sub { vif.vlan as i16 } else { 0 },
        vifr_parent_vif_idx: convert::vif_number(vif.parent),
        vifr_nh_id: vif.nexthop.0 as i32,
        vifr_src_mac: details.source_macs.iter().flat_map(|mac| mac.0).collect(),
        vifr_bridge_idx: vec![-1; details.source_macs.len()],
        vifr_ovlan_id: if is_sub { vif.outer_vlan as i16 } else { 0 },
        vifr_transport: details.transport,
        vifr_qos_map_index: vif.qos_map,
        vifr_in_mirror_md: details.mirror_in.clone(),
        vifr_out_mirror_md: details.mirror_out.clone(),
        vifr_dpackets: stats.vif_drops(vif.id, cores).iter().sum(),
        vifr_isid: details.isid,
        vifr_pbb_mac: if details.pbb_mac == Mac::ZERO { Vec::new() } else { details.pbb_mac.0.to_vec() },
        vifr_vhostuser_mode: details.vhostuser_mode,
        vifr_mcast_vrf: i32::from(vif.mcast_vrf.0),
        vifr_intf_status: u8::from(!details.is_down),
        vifr_loopback_ip: details.loopback_ip,
        ..InterfaceReq::default()
    };
    let fat = &details.fat_flow;
    object.vifr_fat_flow_exclude_ip_list.clone_from(&fat.exclude_ip);
    object.vifr_fat_flow_exclude_ip6_u_list = fat.exclude_ip6.iter().map(|(upper, ..)| *upper).collect();
    object.vifr_fat_flow_exclude_ip6_l_list = fat.exclude_ip6.iter().map(|(_, lower, _)| *lower).collect();
    if vif.kind == VifKind::Physical {
        // Utilities print these as C strings.
        object.vifr_fab_name = [details.name.as_bytes(), &[0]].concat();
        object.vifr_fab_drv_name = vec![0];
        object.vifr_vlan_name = vec![0];
    }
    fill_long_lists(vif, &mut object);
    object
}

/// Fills in the lists that have no limit, cut so that the object and its drop counters fit in a part of a dump
/// (control.md 2.6).
fn fill_long_lists(vif: &Vif, object: &mut InterfaceReq) {
    let taken = encoded_len(object, Compat::Current) + encoded_len(&DropStatsReq::default(), Compat::Current);
    let mut room = (VR_MESSAGE_PAGE_SIZE as usize).saturating_sub(taken);
    let fat = &vif.details.fat_flow;
    let rules = cut(&fat.rules, size_of::<u32>(), &mut room);
    let source = cut(&fat.source, PREFIX, &mut room);
    let destination = cut(&fat.destination, PREFIX, &mut room);
    let queues = cut(&vif.details.hw_queues, size_of::<i16>(), &mut room);
    object.vifr_fat_flow_protocol_port = rules.iter().map(|rule| *rule as i32).collect();
    object.vifr_fat_flow_src_prefix_h = source.iter().map(|prefix| prefix.0).collect();
    object.vifr_fat_flow_src_prefix_l = source.iter().map(|prefix| prefix.1).collect();
    object.vifr_fat_flow_src_prefix_mask = source.iter().map(|prefix| prefix.2).collect();
    object.vifr_fat_flow_src_aggregate_plen = source.iter().map(|prefix| prefix.3).collect();
    object.vifr_fat_flow_dst_prefix_h = destination.iter().map(|prefix| prefix.0).collect();
    object.vifr_fat_flow_dst_prefix_l = destination.iter().map(|prefix| prefix.1).collect();
    object.vifr_fat_flow_dst_prefix_mask = destination.iter().map(|prefix| prefix.2).collect();
    object.vifr_fat_flow_dst_aggregate_plen = destination.iter().map(|prefix| prefix.3).collect();
    object.vifr_hw_queues = queues.to_vec();
}

/// The first of these, which take `size` bytes each, as many as there is room for.
fn cut<'a, T>(list: &'a [T], size: usize, room: &mut usize) -> &'a [T] {
    let kept = list.len().min(*room / size);
    *room -= kept * size;
    &list[..kept]
}

/// The object that confirms a reset of counters.
pub(super) fn reset_object(request: &InterfaceReq, name: &str) -> InterfaceReq {
    InterfaceReq {
        h_op: SandeshOp::RESET,
        vifr_core: request.vifr_core,
        vifr_idx: request.vifr_idx,
        vifr_name: name.to_owned(),
        ..InterfaceReq::default()
    }
}
