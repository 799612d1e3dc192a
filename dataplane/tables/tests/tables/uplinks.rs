//! What the tables add by themselves while there are several uplinks.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use vr_tables::control::{
    AttachError, Attached, Datapath, GivenMac, GracefulRestart, Tables, TablesConfig, VifSpec,
};
use vr_tables::options::Options;
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{FlowIndex, Mac, Release, VifId};

const FIRST: u16 = 4352;

/// Interfaces with a port, and those that get none.
#[derive(Default)]
struct Ports {
    open: Vec<VifId>,
    closed: usize,
    refused: Option<&'static str>,
}

impl Datapath for Ports {
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        if self.refused == Some(vif.details.name.as_str()) {
            return Err(AttachError::Unsupported);
        }
        self.open.push(vif.id);
        Ok(Attached::default())
    }

    fn detach(&mut self, vif: VifId) {
        self.open.retain(|open| *open != vif);
        self.closed += 1;
    }

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

fn tables(mock: bool, release: Release) -> Tables {
    let options = Options { release, ..Options::default() };
    Tables::new(TablesConfig { mock, options, ..TablesConfig::default() }).unwrap()
}

fn mac(number: u16) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number as u8])
}

fn uplink(number: u16) -> VifSpec {
    VifSpec {
        mac: GivenMac::Mac(mac(number)),
        mtu: 9014,
        ip: Ipv4Addr::new(172, 16, number as u8, 1),
        ..VifSpec::new(VifId(number), VifKind::Physical, &format!("eth{number}"))
    }
}

/// Numbers and names from [`FIRST`] on.
fn companions(tables: &Tables) -> Vec<(u16, &str)> {
    tables.vifs_from(usize::from(FIRST)).map(|vif| (vif.id.0, vif.details.name.as_str())).collect()
}

#[test]
fn a_single_uplink_has_no_companion_and_each_of_several_has_one() {
    let (mut tables, mut ports) = (tables(true, Release::Current), Ports::default());
    tables.vif_add(&uplink(0), &mut ports).unwrap();
    assert_eq!(companions(&tables), []);
    tables.vif_add(&uplink(2), &mut ports).unwrap();
    assert_eq!(companions(&tables), [(FIRST, "tap0"), (FIRST + 2, "tap2")]);
    tables.vif_add(&uplink(1), &mut ports).unwrap();
    assert_eq!(companions(&tables), [(FIRST, "tap0"), (FIRST + 1, "tap1"), (FIRST + 2, "tap2")]);
    // There is room for three uplinks.
    tables.vif_add(&uplink(3), &mut ports).unwrap();
    assert_eq!((companions(&tables).len(), ports.open.len()), (3, 7));

    let tap = tables.vif(VifId(FIRST + 1)).unwrap();
    assert_eq!((tap.kind, tap.mac, tap.mtu), (VifKind::Gateway, mac(1), 9014));
    assert!(tap.flags.contains(VifFlags::MOCK_DEVICE));
}

#[test]
fn companions_go_with_their_uplinks_and_the_last_ones_together() {
    let (mut tables, mut ports) = (tables(false, Release::Current), Ports::default());
    for number in 0..3 {
        tables.vif_add(&uplink(number), &mut ports).unwrap();
    }
    assert!(!tables.vif(VifId(FIRST)).unwrap().flags.contains(VifFlags::MOCK_DEVICE));
    tables.vif_delete(VifId(0), "", &mut ports).unwrap();
    assert_eq!(companions(&tables), [(FIRST + 1, "tap1"), (FIRST + 2, "tap2")]);
    tables.vif_delete(VifId(2), "", &mut ports).unwrap();
    assert_eq!((companions(&tables), ports.open), (vec![], vec![VifId(1)]));
}

#[test]
fn a_companion_can_be_removed_and_stays_away() {
    let (mut tables, mut ports) = (tables(true, Release::Current), Ports::default());
    for number in 0..2 {
        tables.vif_add(&uplink(number), &mut ports).unwrap();
    }
    tables.vif_delete(VifId::NONE, "tap0", &mut ports).unwrap();
    assert!(tables.vif_delete(VifId(FIRST), "", &mut ports).is_err());
    // A change of an uplink brings nothing back.
    tables.vif_add(&uplink(0), &mut ports).unwrap();
    assert_eq!(companions(&tables), [(FIRST + 1, "tap1")]);
}

#[test]
fn an_uplink_whose_companion_gets_no_port_or_number_is_added_all_the_same() {
    let mut ports = Ports { refused: Some("tap1"), ..Ports::default() };
    let mut tables = tables(true, Release::Current);
    tables.vif_add(&VifSpec::new(VifId(FIRST), VifKind::Virtual, "guest"), &mut ports).unwrap();
    for number in 0..3 {
        tables.vif_add(&uplink(number), &mut ports).unwrap();
    }
    assert_eq!(companions(&tables), [(FIRST, "guest"), (FIRST + 2, "tap2")]);
}

#[test]
fn r220_knows_no_companions() {
    let (mut tables, mut ports) = (tables(true, Release::R220), Ports::default());
    for number in 0..3 {
        tables.vif_add(&uplink(number), &mut ports).unwrap();
    }
    assert_eq!((companions(&tables), ports.open.len()), (vec![], 3));
}

/// The ports stay open over a restart of an agent that adds its uplinks in another order.
#[test]
fn companions_survive_a_restart_of_the_agent() {
    let guest = VifSpec::new(VifId(3), VifKind::Virtual, "guest");
    let policy = GracefulRestart { grace: Duration::MAX, quiet: Duration::MAX };
    let config = TablesConfig { graceful_restart: Some(policy), ..TablesConfig::default() };
    let (mut tables, mut ports) = (Tables::new(config).unwrap(), Ports::default());
    for number in [0, 1] {
        tables.vif_add(&uplink(number), &mut ports).unwrap();
    }
    tables.vif_add(&guest, &mut ports).unwrap();
    tables.publish();
    tables.reset(&mut ports);
    assert_eq!(companions(&tables), []);
    for number in [1, 0] {
        tables.vif_add(&uplink(number), &mut ports).unwrap();
    }
    tables.vif_add(&guest, &mut ports).unwrap();
    let report = tables.finish_restart(Instant::now(), &mut ports).unwrap();
    assert_eq!((report.kept, report.renumbered, report.gone, report.added), (5, 0, 0, 0));
    assert_eq!(companions(&tables), [(FIRST, "tap0"), (FIRST + 1, "tap1")]);
    assert_eq!((ports.open.len(), ports.closed), (5, 0));
}
