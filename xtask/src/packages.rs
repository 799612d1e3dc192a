//! System packages, installed with apt where they are missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// A package, how to see that it is there, and what it is for.
struct Package {
    name: &'static str,
    /// A program that it brings, or a file if the text starts with `/`.
    brings: &'static str,
    purpose: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "iproute2", brings: "ip", purpose: "network namespaces of tests and demo" },
    Package { name: "iputils-ping", brings: "ping", purpose: "reachability in tests" },
    Package { name: "ethtool", brings: "ethtool", purpose: "offload settings in tests" },
    Package { name: "tcpdump", brings: "tcpdump", purpose: "captures in tests" },
    Package { name: "tshark", brings: "tshark", purpose: "independent decoding of what we send" },
    Package { name: "clang", brings: "clang", purpose: "build of xsk-rs" },
    Package { name: "libclang-dev", brings: "/usr/share/doc/libclang-dev", purpose: "build of xsk-rs" },
    Package { name: "make", brings: "make", purpose: "build of xsk-rs" },
    Package { name: "m4", brings: "m4", purpose: "build of xsk-rs" },
    Package { name: "pkg-config", brings: "pkg-config", purpose: "build of xsk-rs" },
    Package { name: "libelf-dev", brings: "/usr/include/libelf.h", purpose: "build of xsk-rs" },
    Package { name: "zlib1g-dev", brings: "/usr/include/zlib.h", purpose: "build of xsk-rs" },
];

fn is_there(package: &Package) -> bool {
    if package.brings.starts_with('/') {
        return Path::new(package.brings).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| folder.join(package.brings).is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: the call has no preconditions and cannot fail.
    #[allow(unsafe_code, reason = "the one system call that this program makes itself")]
    let user = unsafe { libc::geteuid() };
    user == 0
}

/// Refuses to go on without root.
pub(crate) fn need_root(why: &str) -> anyhow::Result<()> {
    ensure!(is_root(), "{why} needs root: run it again with sudo");
    Ok(())
}

/// Installs what is missing, saying so.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !is_there(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing system packages, to be installed with apt:");
    for package in &missing {
        println!("  {:<14} {}", package.name, package.purpose);
    }
    need_root("installing packages")?;
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing.iter().map(|package| package.name));
    apt(&arguments)?;
    let absent: Vec<&str> =
        missing.iter().filter(|package| !is_there(package)).map(|package| package.name).collect();
    ensure!(absent.is_empty(), "still missing after installation: {}", absent.join(", "));
    Ok(())
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        // Questions, such as tshark's about capturing, are answered by their defaults.
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("apt-get is not there; install the packages above by the means of your system")?;
    if !output.status.success() {
        bail!("apt-get {} failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
