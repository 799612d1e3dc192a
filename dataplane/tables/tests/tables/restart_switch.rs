//! When a restarted agent takes over.

use std::time::{Duration, Instant};

use vr_tables::control::{OptionsChange, Tables, VifSpec};
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::VifId;

use super::restart::{POLICY, Ports, guest, restarted};
use super::support::{ENCAP, FABRIC, NoPorts, empty_with, encap, flow};

#[test]
fn the_switch_waits_for_all_guests_and_for_silence() {
    let mut tables = empty_with(Some(POLICY));
    tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
    tables.vif_add(&guest(4, "b"), &mut NoPorts).unwrap();
    let mut ports = Ports::default();
    tables.reset(&mut ports);
    let start = Instant::now();
    let mut switches = |tables: &mut Tables, seconds| {
        tables.advance_restart(start + Duration::from_secs(seconds), &mut ports).is_some()
    };
    assert!(!switches(&mut tables, 1000), "nothing was programmed");
    tables.vif_add(&guest(5, "b"), &mut NoPorts).unwrap();
    assert!(!switches(&mut tables, 1001));
    assert!(!switches(&mut tables, 1010), "a guest is missing");
    tables.vif_add(&guest(6, "a"), &mut NoPorts).unwrap();
    assert!(!switches(&mut tables, 1011));
    tables.nexthop_add(&encap(ENCAP, VifId(6))).unwrap();
    assert!(!switches(&mut tables, 1013));
    let _ = tables.nexthop(ENCAP).unwrap();
    assert!(!switches(&mut tables, 1014));
    assert!(switches(&mut tables, 1015), "two seconds without a command");
    assert!(!tables.is_restarting());
}

/// Commands of tools, those that were refused, and what is taken back program nothing.
#[test]
fn there_is_no_switch_without_an_interface() {
    let mut tables = restarted();
    let start = Instant::now();
    let switches = |tables: &mut Tables, seconds| {
        tables.advance_restart(start + Duration::from_secs(seconds), &mut NoPorts).is_some()
    };
    tables.set_options(&OptionsChange { mudp: Some(1), ..OptionsChange::default() });
    assert!(tables.flow_set(&flow(1), &mut NoPorts).result.is_err());
    assert!(tables.vif_add(&guest(3, "missing"), &mut NoPorts).is_err());
    assert!([0, 100, 200].iter().all(|second| !switches(&mut tables, *second)));
    tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
    assert!(!switches(&mut tables, 300));
    tables.vif_delete(VifId(3), "", &mut NoPorts).unwrap();
    assert!([301, 400, 500].iter().all(|second| !switches(&mut tables, *second)));
    assert!(tables.finish_restart(start, &mut NoPorts).is_none() && tables.is_restarting());
    tables.vif_add(&guest(3, "guest"), &mut NoPorts).unwrap();
    assert!(!switches(&mut tables, 501) && switches(&mut tables, 503));
}

/// The time that an agent may take does not begin with the command of a tool.
#[test]
fn the_grace_begins_with_the_first_interface() {
    let mut tables = restarted();
    let start = Instant::now();
    let switches = |tables: &mut Tables, seconds| {
        tables.advance_restart(start + Duration::from_secs(seconds), &mut NoPorts).is_some()
    };
    tables.set_options(&OptionsChange { mudp: Some(1), ..OptionsChange::default() });
    assert!(!switches(&mut tables, 0));
    tables.vif_add(&guest(4, "another"), &mut NoPorts).unwrap();
    assert!(!switches(&mut tables, 55) && !switches(&mut tables, 114));
    assert!(switches(&mut tables, 115), "a guest is missing");
}

#[test]
fn a_guest_without_device_is_not_waited_for_and_no_other_for_ever() {
    for (missing, at) in [("lost", 1003), ("b", 1061)] {
        let mut tables = empty_with(Some(POLICY));
        tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
        tables.vif_add(&guest(4, missing), &mut NoPorts).unwrap();
        let mut ports = Ports::default();
        tables.reset(&mut ports);
        tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
        let start = Instant::now();
        let first = (1001..2000)
            .find(|second| tables.advance_restart(start + Duration::from_secs(*second), &mut ports).is_some())
            .unwrap();
        assert_eq!(first, at, "{missing}");
    }
}

#[test]
fn an_agent_that_is_never_silent_has_its_way_in_the_end() {
    let mut tables = empty_with(Some(POLICY));
    tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
    tables.reset(&mut NoPorts);
    let start = Instant::now();
    let first = (0..1000).find(|second| {
        tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
        tables.advance_restart(start + Duration::from_secs(*second), &mut NoPorts).is_some()
    });
    assert_eq!(first, Some(120));
}

#[test]
fn an_agent_that_is_gone_again_is_waited_for_and_the_host_connected() {
    let host = [(0, VifKind::Physical, "fabric"), (1, VifKind::Host, "vhost0"), (2, VifKind::Agent, "pkt0")];
    let node = |tables: &mut Tables| {
        for (id, kind, name) in host {
            tables.vif_add(&VifSpec::new(VifId(id), kind, name), &mut NoPorts).unwrap();
        }
        tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
        tables.publish();
    };
    let mut tables = empty_with(Some(POLICY));
    node(&mut tables);
    let mut reader = tables.reader();
    let mut connected = |restarting: bool| {
        let seen = reader.latest();
        assert_eq!(seen.restarting, restarting);
        seen.vif(VifId(1)).unwrap().flags.contains(VifFlags::XCONNECT)
    };
    assert!(tables.set_agent_lost(true));
    tables.publish();
    assert!(connected(false));
    tables.reset(&mut NoPorts);
    assert!(connected(true));
    node(&mut tables);
    assert!(connected(true), "the interface of the agent is there, and the agent is not");
    assert!(!tables.set_agent_lost(true) && tables.set_agent_lost(false));
    tables.publish();
    assert!(!connected(true));
    let start = Instant::now();
    let switches = |tables: &mut Tables, seconds| {
        tables.advance_restart(start + Duration::from_secs(seconds), &mut NoPorts).is_some()
    };
    assert!(!switches(&mut tables, 0));
    assert!(tables.set_agent_lost(true));
    tables.publish();
    assert!(connected(true));
    assert!(!switches(&mut tables, 100));
    assert!(tables.set_agent_lost(false));
    tables.publish();
    assert!(!connected(true));
    assert!(switches(&mut tables, 101));
    assert!(!connected(false));
}

#[test]
fn without_guests_a_reset_is_as_ever() {
    let mut tables = empty_with(Some(POLICY));
    tables.vif_add(&VifSpec::new(FABRIC, VifKind::Physical, "fabric"), &mut NoPorts).unwrap();
    let mut ports = Ports::default();
    tables.reset(&mut ports);
    assert!(!tables.is_restarting());
    assert_eq!(ports.0, ["detach 0"]);
    assert!(tables.reader().latest().vif(FABRIC).is_none());
}
