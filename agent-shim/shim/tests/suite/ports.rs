//! What ports have counted is in the object of their interface (forwarding.md 10.1).

use sandesh::messages::InterfaceReq;
use sandesh::netlink::{Frame, FrameReader, Header};
use sandesh::{Compat, Message, Record, SandeshOp, decode, encode};
use vr_shim::{About, Responder};
use vr_tables::control::{AttachError, Attached, Datapath, PortTotals, Tables, TablesConfig};
use vr_tables::stats::Cores;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId};

/// Every interface has a port, with these figures.
struct Ports(PortTotals);

impl Datapath for Ports {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}

    fn port_totals(&self, _: VifId, cores: Cores) -> PortTotals {
        if cores == Cores::All { self.0 } else { PortTotals::default() }
    }

    fn clear_port_totals(&mut self, _: VifId, _: Cores) {
        self.0 = PortTotals::default();
    }
}

#[test]
fn losses_of_a_port_are_errors_of_its_interface_until_they_are_cleared() {
    let totals = PortTotals {
        in_packets: 1,
        in_errors: 2,
        in_no_buffers: 3,
        in_syscalls: 4,
        out_packets: 5,
        out_errors: 6,
        out_syscalls: 7,
    };
    let mut ports = Ports(totals);
    let mut tables = Tables::new(TablesConfig::default()).unwrap();
    let mut responder = Responder::new(About::version("test"));
    let mut ask = |request: InterfaceReq| {
        let mut payload = Vec::new();
        encode(&request as &dyn Record, Compat::Current, &mut payload);
        let frame = Frame { header: Header::request(1), payload: &payload, bytes: &[] };
        let mut out = Vec::new();
        responder.answer(&frame, &mut Compat::Current.clone(), &mut tables, &mut ports, &mut out);
        let (mut frames, mut replies, mut vif) = (FrameReader::new(), &out[..], None);
        while frames.read_from(&mut replies).unwrap() > 0 {
            while let Some(reply) = frames.next_frame().unwrap() {
                for message in decode(reply.payload, Compat::Current) {
                    if let Message::InterfaceReq(object) = message.unwrap() {
                        vif = Some(object);
                    }
                }
            }
        }
        vif
    };
    let request = |h_op| InterfaceReq { h_op, vifr_idx: 3, vifr_type: 3, ..InterfaceReq::default() };
    let errors = |vif: &InterfaceReq| {
        (vif.vifr_ierrors, vif.vifr_port_ierrors, vif.vifr_oerrors, vif.vifr_port_oerrors)
    };
    assert!(ask(request(SandeshOp::ADD)).is_none());
    let dumped = ask(InterfaceReq { vifr_marker: -1, ..request(SandeshOp::DUMP) }).unwrap();
    let got = ask(request(SandeshOp::GET)).unwrap();
    for vif in [&dumped, &got] {
        assert_eq!(errors(vif), (2, 2, 6, 6));
        assert_eq!((vif.vifr_port_ipackets, vif.vifr_port_opackets), (1, 5));
        assert_eq!((vif.vifr_port_inombufs, vif.vifr_ipackets, vif.vifr_opackets), (3, 0, 0));
        assert_eq!((vif.vifr_port_isyscalls, vif.vifr_port_osyscalls), (4, 7));
    }
    let one = ask(InterfaceReq { vifr_core: 1, ..request(SandeshOp::GET) }).unwrap();
    assert_eq!(errors(&one), (0, 0, 0, 0), "the first worker does not poll the port");
    assert!(ask(request(SandeshOp::RESET)).is_some());
    assert_eq!(errors(&ask(request(SandeshOp::GET)).unwrap()), (0, 0, 0, 0));
}
