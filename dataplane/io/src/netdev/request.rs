//! Requests about one device by `ioctl` (netdevice(7)).
#![allow(unsafe_code, reason = "ioctl, and the union in its argument")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{PortError, sys};

/// `struct ifreq`: a name, and a value whose type depends on the request.
#[repr(transparent)]
pub(crate) struct Request(libc::ifreq);

impl Request {
    /// A request about the device `name`.
    pub(crate) fn new(name: &str) -> Result<Self, PortError> {
        // SAFETY: all zero bytes are a value of every member.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        let fits = (1..libc::IFNAMSIZ).contains(&name.len());
        if !fits || name.bytes().any(|byte| byte == b'/' || byte == 0 || byte.is_ascii_whitespace()) {
            return Err(PortError::BadName(name.to_owned()));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self(request))
    }

    /// Sends the request; afterwards it holds the answer.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, code: libc::Ioctl) -> io::Result<()> {
        // SAFETY: the codes used in this crate take a `struct ifreq`, which is initialised in full.
        sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), code, &raw mut self.0) })?;
        Ok(())
    }

    /// As [`Request::send`], for requests whose value is the address of `data`.
    pub(super) fn send_with<T: sys::Plain>(
        &mut self,
        fd: BorrowedFd<'_>,
        code: libc::Ioctl,
        data: &mut T,
    ) -> io::Result<()> {
        self.0.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast::<libc::c_char>();
        let sent = self.send(fd, code);
        self.0.ifr_ifru.ifru_data = std::ptr::null_mut::<c_void>().cast();
        sent
    }

    pub(crate) const fn set_flags(&mut self, flags: i16) {
        self.0.ifr_ifru.ifru_flags = flags;
    }

    pub(super) const fn flags(&self) -> i16 {
        // SAFETY: the union was zeroed when it was made and any bits are a number.
        unsafe { self.0.ifr_ifru.ifru_flags }
    }

    pub(super) const fn set_number(&mut self, number: c_int) {
        self.0.ifr_ifru.ifru_mtu = number;
    }

    pub(super) const fn number(&self) -> c_int {
        // SAFETY: as in `flags`.
        unsafe { self.0.ifr_ifru.ifru_mtu }
    }

    pub(super) fn set_mac(&mut self, mac: [u8; 6]) {
        // SAFETY: all zero bytes are an address.
        let mut address: libc::sockaddr = unsafe { mem::zeroed() };
        address.sa_family = libc::ARPHRD_ETHER;
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        self.0.ifr_ifru.ifru_hwaddr = address;
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        // SAFETY: as in `flags`.
        let data = unsafe { self.0.ifr_ifru.ifru_hwaddr.sa_data };
        std::array::from_fn(|i| data[i] as u8)
    }
}
