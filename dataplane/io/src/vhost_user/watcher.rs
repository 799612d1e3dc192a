//! Sockets that appear in directories (inotify).
#![allow(unsafe_code, reason = "system calls")]

use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs::File, io};

use crate::sys;

/// Bytes of an event before its name.
const EVENT: usize = 16;

/// Tells when files appear in directories.
pub(super) struct Watcher(File);

impl Watcher {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: plain system call.
        let fd = sys::check(unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }.into()))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Watches a directory, once however often it is asked to.
    pub(super) fn watch(&self, directory: &Path) -> io::Result<()> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        let events = libc::IN_CREATE | libc::IN_MOVED_TO;
        // SAFETY: the path outlives the call.
        sys::check(unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), events) })?;
        Ok(())
    }

    /// Names of files that have appeared since the last call, in any of the directories.
    pub(super) fn appeared(&mut self) -> Vec<OsString> {
        let mut names = Vec::new();
        let mut events = [0; 4096];
        while let Ok(len @ 1..) = self.0.read(&mut events) {
            let mut rest = &events[..len];
            while let Some(header) = rest.first_chunk::<EVENT>() {
                let name_len = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]) as usize;
                let name = rest.get(EVENT..EVENT + name_len).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                names.push(OsStr::from_bytes(name).to_owned());
                rest = rest.get(EVENT + name_len..).unwrap_or_default();
            }
        }
        names
    }
}
