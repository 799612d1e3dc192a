//! Requests with every field that R2.20 has, in its order (control.md A.2).

use std::net::Ipv4Addr;

use agent_sim::Message;

pub(crate) const ADD: i32 = 0;
pub(crate) const GET: i32 = 1;
pub(crate) const DEL: i32 = 2;
pub(crate) const DUMP: i32 = 3;
pub(crate) const RESET: i32 = 5;

pub(crate) struct Interface {
    pub(crate) op: i32,
    pub(crate) kind: i32,
    pub(crate) flags: i32,
    pub(crate) idx: i32,
    pub(crate) name: &'static str,
    pub(crate) mac: [u8; 6],
    pub(crate) ip: u32,
    pub(crate) nexthop: i16,
    pub(crate) transport: u8,
    pub(crate) marker: i32,
}

impl Interface {
    pub(crate) const fn new(op: i32, idx: i32) -> Self {
        let mac = [2, 0, 0, 0, 0, idx as u8];
        Self { op, kind: 3, flags: 0, idx, name: "", mac, ip: 0, nexthop: 0, transport: 2, marker: -1 }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut message = Message::new("vr_interface_req")
            .i32(1, self.op)
            .i32(2, self.kind)
            .i32(3, self.flags)
            .i32(4, 1)
            .i32(5, self.idx)
            .i32(6, 0)
            .i32(7, -1)
            .i32(8, 1514)
            .string(9, self.name);
        for id in 10..=15 {
            message = message.i64(id, 0);
        }
        message
            .i32(16, 0)
            .i32(17, self.marker)
            .bytes(18, &self.mac)
            .u32(19, self.ip)
            .i32(20, 0)
            .i16(21, -1)
            .i32(22, 0)
            .i32(23, 0)
            .i16(24, 0)
            .i32(25, -1)
            .i16(26, self.nexthop)
            .i32(27, -1)
            .bytes(28, &[])
            .i32(29, 0)
            .i16(30, 0)
            .byte(31, self.transport)
            .i32s(32, &[])
            .stop()
    }
}

pub(crate) struct Nexthop {
    pub(crate) op: i32,
    pub(crate) kind: u8,
    pub(crate) family: u8,
    pub(crate) id: i32,
    pub(crate) interface: i32,
    pub(crate) ends: [Ipv4Addr; 2],
    pub(crate) flags: u32,
    pub(crate) encap: Vec<u8>,
    pub(crate) members: Vec<i32>,
}

impl Nexthop {
    pub(crate) fn new(op: i32, kind: u8, id: i32) -> Self {
        let (ends, encap, members) = ([Ipv4Addr::UNSPECIFIED; 2], Vec::new(), Vec::new());
        Self { op, kind, family: 2, id, interface: -1, ends, flags: 1, encap, members }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        Message::new("vr_nexthop_req")
            .i32(1, self.op)
            .byte(2, self.kind)
            .byte(3, self.family)
            .i32(4, self.id)
            .i32(5, 0)
            .i32(6, self.interface)
            .i32(7, self.encap.len() as i32)
            .i32(8, 0)
            .i32(9, 1)
            .ipv4(10, self.ends[0])
            .ipv4(11, self.ends[1])
            .i16(12, 0)
            .i16(13, 0)
            .i32(14, 0)
            .i32(15, -1)
            .u32(16, self.flags)
            .bytes(17, &self.encap)
            .i32s(18, &self.members)
            .i32(19, -1)
            .i32s(20, &vec![-1; self.members.len()])
            .stop()
    }
}

pub(crate) struct Flow {
    pub(crate) op: i32,
    pub(crate) index: i32,
    pub(crate) action: i16,
    pub(crate) flags: u16,
    pub(crate) reverse: i32,
    pub(crate) port: u16,
    pub(crate) drop_reason: i16,
}

impl Flow {
    /// TCP from 10.0.0.1:`port` to 10.0.0.2:80, key nexthop 20.
    pub(crate) const fn set(index: i32, port: u16) -> Self {
        Self { op: 0, index, action: 2, flags: 1, reverse: -1, port, drop_reason: 0 }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let as_in_memory = |port: u16| i16::from_le_bytes(port.to_be_bytes());
        let mut message = Message::new("vr_flow_req")
            .i32(1, self.op)
            .i16(2, 0)
            .i32(3, self.index)
            .i16(4, self.action)
            .i16(5, self.flags as i16)
            .i32(6, 0)
            .i16(7, 0)
            .i32(8, self.reverse)
            .ipv4(9, Ipv4Addr::new(10, 0, 0, 1))
            .ipv4(10, Ipv4Addr::new(10, 0, 0, 2))
            .i16(11, as_in_memory(self.port))
            .i16(12, as_in_memory(80))
            .byte(13, 6)
            .i16(14, 1)
            .i16(15, 0)
            .i16(16, -1)
            .i16(17, -1)
            .u32(18, 0)
            .i16(19, 0)
            .bytes(20, &[])
            .i16(21, 0)
            .i32(22, -1)
            .i32(23, 20)
            .i32(24, 20)
            .i16(25, self.drop_reason)
            .string(26, "");
        for id in 27..=29 {
            message = message.i64(id, 0);
        }
        message = message.i32(30, 0).i32(31, 0).i32s(32, &[]).i32(33, 0);
        message.u32(34, 0).u32(35, 0).u32(36, 0).stop()
    }
}

pub(crate) fn mirror(op: i32, index: i16, flags: i32) -> Vec<u8> {
    let message = Message::new("vr_mirror_req").i32(1, op).i16(2, index).i16(3, 0).i32(4, 20);
    message.i32(5, 0).i32(6, flags).i32(7, -1).stop()
}

pub(crate) fn router(op: i32) -> Vec<u8> {
    let mut message = Message::new("vrouter_ops").i32(1, op);
    for id in 2..=11 {
        message = message.i32(id, 0);
    }
    message.string(12, "").stop()
}
