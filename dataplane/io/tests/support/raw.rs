//! The other side of a device: a plain `AF_PACKET` socket that blocks, with nothing of the crate in it.
#![allow(unsafe_code, reason = "system calls")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::frames::is_ours;
use super::rig::Peer;

pub struct RawPeer {
    fd: OwnedFd,
}

impl RawPeer {
    pub fn on(device: &str) -> Self {
        let index = nix::net::if_::if_nametoindex(device).unwrap();
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain system call.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) });
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1);
        set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1);
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20);
        // SAFETY: all zero bytes are an address.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index as i32;
        let len = mem::size_of_val(&address) as u32;
        // SAFETY: pointer and length are those of an address that outlives the call.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) });
        Self { fd }
    }

    /// The next frame of any kind, with the VLAN tag that the kernel has taken out.
    pub fn any(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: there is one entry, which outlives the call.
        if unsafe { libc::poll(&raw mut poll, 1, wait.as_millis() as i32) } <= 0 {
            return None;
        }
        let mut bytes = vec![0; 128 * 1024];
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: all zero bytes are a message.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control);
        // SAFETY: the kernel writes within the lengths of buffers that outlive the call.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        bytes.truncate(usize::try_from(len).unwrap());
        // SAFETY: the kernel has filled the control data of this message.
        let auxdata = unsafe { libc::CMSG_DATA(libc::CMSG_FIRSTHDR(&raw const message)) };
        // SAFETY: this is what was asked for, and any bits are a value of it.
        let auxdata: libc::tpacket_auxdata =
            unsafe { auxdata.cast::<libc::tpacket_auxdata>().read_unaligned() };
        if auxdata.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
            let tag = [auxdata.tp_vlan_tpid.to_be_bytes(), auxdata.tp_vlan_tci.to_be_bytes()].concat();
            bytes.splice(12..12, tag);
        }
        Some(bytes)
    }
}

impl Peer for RawPeer {
    fn send(&mut self, frame: &[u8]) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            // SAFETY: the kernel reads a frame that outlives the call.
            let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent == frame.len() as isize {
                return;
            }
            let error = io::Error::last_os_error();
            // The queue of a TAP device is full until somebody reads.
            let again = error.raw_os_error() == Some(libc::ENOBUFS) && Instant::now() < end;
            assert!(again, "{} bytes: {error}", frame.len());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn receive(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + wait;
        loop {
            let frame = self.any(end.saturating_duration_since(Instant::now()))?;
            if is_ours(&frame) {
                return Some(frame);
            }
        }
    }
}

pub fn check(result: i32) -> i32 {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

fn set(fd: &OwnedFd, level: i32, name: i32, value: i32) {
    let len = mem::size_of_val(&value) as u32;
    // SAFETY: pointer and length are those of a value that outlives the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) });
}
