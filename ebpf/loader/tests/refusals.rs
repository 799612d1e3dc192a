//! What a user reads when the kernel, the machine or the configuration says no.
//!
//! In a file, and so in a process, of its own: aya asks the kernel once per process what it can do, and here the
//! answer may be "nothing".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(unsafe_code, reason = "capabilities and seccomp filters of a thread")]

mod support;

use std::{fs, path::Path, thread};
use steer_loader::{Persistence, Steer, SteerError, SteerOptions, Swallow, SwallowOptions};
use support::{Folder, in_namespaces, is_root};

fn options() -> SteerOptions {
    SteerOptions { persistence: Persistence::Process, ..SteerOptions::default() }
}

/// Runs `test` in a thread whose rights it may give up.
fn in_a_thread(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes `bpf(2)` fail with `errno` in this thread, as a container's seccomp profile does.
fn forbid_bpf(errno: i32) {
    let load_number = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump_if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        step(load_number, 0, 0),
        step(jump_if_equal, 1, libc::SYS_bpf as u32),
        step(answer, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(answer, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the call, which copies it.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    assert_eq!(result, 0);
}

/// Takes capabilities out of this thread's effective set.
fn drop_capabilities(numbers: &[u32]) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    // Effective, permitted, inheritable; the low words, then the high ones.
    let mut sets = [0_u32; 6];
    // SAFETY: both structures are as capget(2) says, and outlive the calls.
    let results = unsafe {
        let got = libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr());
        for number in numbers {
            sets[(number / 32 * 3) as usize] &= !(1 << (number % 32));
        }
        (got, libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()))
    };
    assert_eq!(results, (0, 0));
}

const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

#[test]
fn missing_capabilities_are_named() {
    if !is_root("missing_capabilities_are_named") {
        return;
    }
    for (dropped, named) in [
        (&[NET_ADMIN, SYS_ADMIN, PERFMON, BPF][..], "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"),
        (&[SYS_ADMIN, BPF], "CAP_BPF"),
        (&[SYS_ADMIN, NET_ADMIN], "CAP_NET_ADMIN"),
    ] {
        in_a_thread(move || {
            drop_capabilities(dropped);
            let refused = Steer::attach("lo", &options()).unwrap_err();
            let SteerError::NotPermitted(names) = &refused else { panic!("{dropped:?}: {refused}") };
            assert_eq!(names, named);
            let swallow = SwallowOptions { persistence: Persistence::Process, ..SwallowOptions::default() };
            let refused = Swallow::attach("lo", &swallow).unwrap_err();
            assert!(matches!(refused, SteerError::NotPermitted(_)), "{dropped:?}: {refused}");
        });
    }
}

#[test]
fn a_program_that_may_not_compute_with_pointers_says_what_is_missing() {
    if !is_root("a_program_that_may_not_compute_with_pointers_says_what_is_missing") {
        return;
    }
    in_a_thread(|| {
        drop_capabilities(&[SYS_ADMIN, PERFMON]);
        let refused = Steer::attach("lo", &options()).unwrap_err();
        assert!(refused.to_string().contains("CAP_PERFMON"), "{refused}");
    });
}

#[test]
fn a_seccomp_filter_is_named() {
    if !is_root("a_seccomp_filter_is_named") {
        return;
    }
    in_a_thread(|| {
        forbid_bpf(libc::EPERM);
        let refused = Steer::attach("lo", &options()).unwrap_err();
        assert!(matches!(refused, SteerError::Refused), "{refused}");
        assert!(refused.to_string().contains("seccomp"), "{refused}");
    });
    in_a_thread(|| {
        forbid_bpf(libc::ENOSYS);
        let refused = Steer::attach("lo", &options()).unwrap_err();
        assert!(matches!(refused, SteerError::NoBpf), "{refused}");
        assert!(refused.to_string().contains("CONFIG_BPF_SYSCALL"), "{refused}");
    });
}

#[test]
fn wrong_names_are_refused_before_anything_is_loaded() {
    let refused = Steer::attach("no-such-device", &options()).unwrap_err();
    assert!(refused.to_string().starts_with("there is no network interface `no-such-device`"), "{refused}");
}

#[test]
fn a_place_for_pins_that_cannot_be_used_is_named() {
    if !is_root("a_place_for_pins_that_cannot_be_used_is_named") {
        return;
    }
    in_namespaces(|| {
        let folder = Folder::make();
        let at = |instance: &str, bpffs: &Path| {
            let options = SteerOptions {
                instance: instance.to_owned(),
                bpffs: Some(bpffs.to_owned()),
                ..SteerOptions::default()
            };
            Steer::attach("lo", &options).unwrap_err()
        };
        for instance in ["", "a/b", "..", "with space", &"x".repeat(65)] {
            let refused = at(instance, folder.path());
            assert!(matches!(refused, SteerError::BadInstance(_)), "{instance}: {refused}");
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = at("test", &file);
        assert!(matches!(refused, SteerError::NoBpffs { .. }), "{refused}");
        assert!(refused.to_string().contains("mount -t bpf bpf"), "{refused}");
    });
}
