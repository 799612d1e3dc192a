//! Commands of `bpf(2)` that aya does not offer: opening a pinned link as a plain descriptor, asking a link for its
//! device, and taking a program off it.

use nix::errno::Errno;
use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// What a link says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// Id of the attached program.
    pub(crate) program: u32,
    /// Index of the device in its network namespace; 0 once the device is gone.
    pub(crate) ifindex: u32,
}

/// The state of the link that is pinned at `path`; `None` when nothing is pinned there.
pub(crate) fn pinned_link_state(path: &Path) -> io::Result<Option<LinkState>> {
    match open_pin(path) {
        Ok(link) => link_state(&link).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the program of the link that is pinned at `path` off its device. A link without a device is no error, nor
/// is the absence of a link.
///
/// Removing the last reference does so as well, but some time later when it was a pin: the kernel does it in a work
/// item.
pub(crate) fn detach_pinned_link(path: &Path) -> io::Result<()> {
    let link = match open_pin(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        link => link?,
    };
    bpf(BPF_LINK_DETACH, &LinkDetach { link_fd: link.as_raw_fd() as u32 })?;
    Ok(())
}

/// Commands of `bpf(2)`, from `linux/bpf.h`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;

/// `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `union bpf_attr` for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// `struct bpf_link_info` up to the device of an XDP or a tcx link, which both have it first in the union.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn link_state(link: &OwnedFd) -> io::Result<LinkState> {
    let mut info = LinkInfo::default();
    let attr = InfoByFd {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<LinkInfo>() as u32,
        info: &raw mut info as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attr)?;
    Ok(LinkState { program: info.prog_id, ifindex: info.ifindex })
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<RawFd> {
    // SAFETY: `attr` has the layout that the kernel expects for the command, and what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    Ok(Errno::result(result)? as RawFd)
}
