//! Devices that are gone, or made anew, when a restarted agent takes over.

use std::time::{Duration, Instant};

use vr_tables::control::{AttachError, Attached, Datapath, RestartReport, Tables};
use vr_tables::vif::{Vif, VifFlags};
use vr_types::{FlowIndex, VifId};

use super::restart::{POLICY, guest};
use super::support::{NoPorts, empty_with};

/// Some ports have lost their devices.
#[derive(Default)]
struct Devices {
    lost: Vec<VifId>,
    done: Vec<String>,
}

impl Datapath for Devices {
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        self.done.push(format!("attach {}", vif.id));
        Ok(Attached::default())
    }

    fn has_lost_device(&self, vif: VifId) -> bool {
        self.lost.contains(&vif)
    }

    fn renumber(&mut self, moves: &[(VifId, VifId)], publish: &mut dyn FnMut()) {
        self.done.extend(moves.iter().map(|(old, new)| format!("move {old} {new}")));
        publish();
    }

    fn changed(&mut self, vif: &Vif) {
        self.done.push(format!("changed {}", vif.id));
    }

    fn detach(&mut self, vif: VifId) {
        self.done.push(format!("detach {vif}"));
    }

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

/// A node with three guests whose agent has just restarted.
fn restarted(devices: &mut Devices) -> Tables {
    let mut tables = empty_with(Some(POLICY));
    for (id, name) in (3..).zip(["a", "b", "c"]) {
        tables.vif_add(&guest(id, name), &mut NoPorts).unwrap();
        assert!(tables.set_owned_flags(VifId(id), VifFlags::MRG_RXBUF));
    }
    tables.publish();
    tables.reset(devices);
    tables
}

#[test]
fn a_port_whose_device_was_made_anew_is_opened_again() {
    let mut devices = Devices::default();
    let mut tables = restarted(&mut devices);
    for (id, name) in [(3, "a"), (6, "b"), (5, "c")] {
        tables.vif_add(&guest(id, name), &mut devices).unwrap();
    }
    devices.lost = vec![VifId(3), VifId(4)];
    let report = tables.finish_restart(Instant::now(), &mut devices).unwrap();
    let counts = RestartReport { kept: 1, gone: 2, added: 2, ..RestartReport::default() };
    assert_eq!(report, counts);
    assert_eq!(devices.done, ["detach 3", "detach 4", "changed 5", "attach 3", "attach 6"]);
    let of_ports = [3, 5, 6].map(|id| tables.vif(VifId(id)).unwrap().flags & VifFlags::OWNED);
    assert_eq!(of_ports, [VifFlags::empty(), VifFlags::MRG_RXBUF, VifFlags::empty()]);
}

#[test]
fn a_guest_whose_device_is_gone_is_not_waited_for() {
    for (lost, at) in [(vec![VifId(5)], 1003), (vec![VifId(3)], 1061)] {
        let mut devices = Devices { lost, ..Devices::default() };
        let mut tables = restarted(&mut devices);
        for (id, name) in [(3, "a"), (4, "b")] {
            tables.vif_add(&guest(id, name), &mut devices).unwrap();
        }
        let start = Instant::now();
        let first = (1001..2000).find(|second| {
            tables.advance_restart(start + Duration::from_secs(*second), &mut devices).is_some()
        });
        assert_eq!(first, Some(at));
    }
}
