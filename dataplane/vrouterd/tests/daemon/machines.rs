//! Virtual machines: what the agent hears of them, and what shows in their interfaces.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use agent_sim::message::Message;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use crate::front_end::{CSUM, FrontEnd, GUEST_CSUM, GUEST_TSO, HOST_TSO, MRG_RXBUF, Manners, accept};
use crate::node::{Node, PATIENCE, wait_until};

const VIF: i32 = 20;
const NAME: &str = "tapmachine";
/// `GRO_NEEDED` and `MRG_RXBUF` (forwarding.md 1.2).
const NEGOTIATED: i64 = 0x40_0000 | 0x80_0000;
const UP: u32 = 0x1 | 0x2 | 0x40 | 0x1000;
const DOWN: u32 = 0x1 | 0x2;

/// What an agent listens on.
fn listener(node: &Node) -> OwnedFd {
    let open = || {
        let kind = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind).unwrap();
        // RTMGRP_LINK and RTMGRP_IPV4_IFADDR.
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0x11)).unwrap();
        fd
    };
    let fd = node.namespace.run(open).unwrap();
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(1, 0)).unwrap();
    fd
}

/// The flags of the next message about the machine.
fn heard(fd: &OwnedFd) -> u32 {
    let name = [NAME.as_bytes(), &[0]].concat();
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "no message about {NAME}");
        let mut bytes = [0; 8192];
        let Ok(len) = recv(fd.as_raw_fd(), &mut bytes, MsgFlags::empty()) else { continue };
        let message = &bytes[..len];
        if message.windows(name.len()).any(|window| window == name) {
            assert_eq!(message[4..6], 16_u16.to_ne_bytes(), "RTM_NEWLINK");
            assert_eq!(message[20..24], (-1_i32).to_ne_bytes(), "no index");
            assert_eq!(message[28..32], [0xff; 4]);
            let attribute =
                [&(4 + name.len() as u16).to_ne_bytes()[..], &3_u16.to_ne_bytes(), &name].concat();
            assert_eq!(message[32..32 + attribute.len()], attribute, "IFLA_IFNAME and nothing else");
            return u32::from_ne_bytes(message[24..28].try_into().unwrap());
        }
    }
}

fn flags(node: &Node) -> i64 {
    let get = Message::new("vr_interface_req").i32(1, 1).i32(6, VIF).stop();
    node.control().one(get).unwrap().objects[0].number(4)
}

/// The agent takes the state of such an interface from these messages alone (control.md 3.6).
#[test]
fn the_agent_hears_of_machines_and_sees_what_they_negotiated() {
    let node = Node::new("vm");
    let kept = node.sockets().join("features");
    let section = format!("[vhost_user]\nfeatures = \"{}\"\n", kept.display());
    node.configure(&format!("[fabric]\ndevice = \"eth0\"\n{section}"));
    let daemon = node.start();
    let _agent = node.agent();
    std::fs::create_dir(&kept).unwrap();
    let heard_here = listener(&node);
    let path = node.sockets().join(format!("uvh_vif_{NAME}"));
    let socket = UnixListener::bind(&path).unwrap();
    let add = Message::new("vr_interface_req").i32(1, 0).i32(3, 3).i32(5, 1).i32(6, VIF).string(10, NAME);
    node.control().apply(&[add.byte(53, 2).stop()]).unwrap();

    let stream = accept(&socket, Duration::from_secs(5)).unwrap();
    assert_eq!(heard(&heard_here), UP);
    let features = CSUM | GUEST_CSUM | GUEST_TSO | HOST_TSO | MRG_RXBUF;
    let front_end = FrontEnd::start(stream, &Manners { features: Some(features), ..Manners::default() });
    wait_until("flags", || flags(&node) & NEGOTIATED == NEGOTIATED);
    assert_eq!(std::fs::read_to_string(kept.join(NAME)).unwrap(), format!("{features:#x}\n"));
    // Nobody is to be found there again.
    drop(socket);
    drop(front_end);
    assert_eq!(heard(&heard_here), DOWN);
    wait_until("no flags", || flags(&node) & NEGOTIATED == 0);
    daemon.end();
}
