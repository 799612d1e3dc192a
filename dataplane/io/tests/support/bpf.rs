//! The smallest XDP program that redirects to sockets, by bpf(2) alone.
#![allow(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: i64 = 0;
const MAP_UPDATE_ELEM: i64 = 2;
const PROG_LOAD: i64 = 5;
const LINK_CREATE: i64 = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// What the program writes in front of every packet.
pub const MARK: u32 = 0x1234_5678;

/// How to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Native,
    Generic,
}

/// A program on a device, for as long as the value lives, and the map of its sockets by receive queue.
pub struct Redirect {
    map: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    pub fn on(device: &str, hook: Hook) -> Self {
        let map = bpf(MAP_CREATE, &[&MAP_TYPE_XSKMAP.to_ne_bytes(), &u32s([4, 4, 64, 0])]).unwrap();
        let program = load(&map);
        let index = nix::net::if_::if_nametoindex(device).unwrap();
        let mode = if hook == Hook::Native { 4 } else { 2 };
        let parts = u32s([program.as_raw_fd() as u32, index, ATTACH_XDP, mode]);
        let link = bpf(LINK_CREATE, &[&parts]).unwrap();
        Self { map, _link: link }
    }

    /// Makes the packets of a receive queue go to a socket.
    pub fn insert(&self, queue: u32, socket: BorrowedFd<'_>) {
        let value = socket.as_raw_fd() as u32;
        let addresses =
            [(&raw const queue) as u64, (&raw const value) as u64, 0].map(u64::to_ne_bytes).concat();
        let parts: [&[u8]; 2] = [&u32s([self.map.as_raw_fd() as u32, 0]), &addresses];
        raw(MAP_UPDATE_ELEM, &parts).unwrap();
    }
}

/// Operation, destination and source register, offset, constant.
type Instruction = (u8, u8, u8, i16, i32);

fn load(map: &OwnedFd) -> OwnedFd {
    let map = map.as_raw_fd();
    let program: [Instruction; 17] = [
        (0xbf, 6, 1, 0, 0),           // r6 = context
        (0xb7, 2, 0, 0, -4),          // r2 = -4
        (0x85, 0, 0, 0, 54),          // r0 = bpf_xdp_adjust_meta(r1, r2)
        (0x55, 0, 0, 7, 0),           // if r0 != 0 goto redirect
        (0x61, 2, 6, 8, 0),           // r2 = context->data_meta
        (0x61, 3, 6, 0, 0),           // r3 = context->data
        (0xbf, 4, 2, 0, 0),           // r4 = r2
        (0x07, 4, 0, 0, 4),           // r4 += 4
        (0x2d, 4, 3, 2, 0),           // if r4 > r3 goto redirect
        (0xb7, 5, 0, 0, MARK as i32), // r5 = MARK
        (0x63, 2, 5, 0, 0),           // *r2 = r5
        (0x61, 2, 6, 16, 0),          // redirect: r2 = context->rx_queue_index
        (0x18, 1, 1, 0, map),         // r1 = map
        (0, 0, 0, 0, 0),
        (0xb7, 3, 0, 0, 2),  // r3 = XDP_PASS, for a queue without a socket
        (0x85, 0, 0, 0, 51), // r0 = bpf_redirect_map(r1, r2, r3)
        (0x95, 0, 0, 0, 0),  // return r0
    ];
    let encoded: Vec<u8> = program
        .iter()
        .flat_map(|(operation, to, from, offset, constant)| {
            let [o0, o1] = offset.to_ne_bytes();
            let [c0, c1, c2, c3] = constant.to_ne_bytes();
            [*operation, to | from << 4, o0, o1, c0, c1, c2, c3]
        })
        .collect();
    let (code, license) = (encoded.as_ptr() as u64, c"GPL".as_ptr() as u64);
    let mut log = vec![0_u8; 64 * 1024];
    let log_address = (log.as_mut_ptr() as u64).to_ne_bytes();
    let loaded = bpf(
        PROG_LOAD,
        &[
            &u32s([PROG_TYPE_XDP, encoded.len() as u32 / 8]),
            &[code, license].map(u64::to_ne_bytes).concat(),
            &u32s([1, log.len() as u32]),
            &log_address,
        ],
    );
    loaded.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&log)))
}

fn u32s<const N: usize>(values: [u32; N]) -> Vec<u8> {
    values.map(u32::to_ne_bytes).concat()
}

fn bpf(command: i64, parts: &[&[u8]]) -> io::Result<OwnedFd> {
    let fd = raw(command, parts)?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(command: i64, parts: &[&[u8]]) -> io::Result<i32> {
    let mut attributes = parts.concat();
    attributes.resize(128, 0);
    // SAFETY: the attributes outlive the call, and so does what their addresses point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
