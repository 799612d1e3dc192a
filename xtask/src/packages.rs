//! System packages, installed with apt where they are missing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use nix::unistd::geteuid;

/// A package, how to see that it is there, and what it is for.
struct Package {
    name: &'static str,
    sign: Sign,
    purpose: &'static str,
}

/// How to see that a package is there.
enum Sign {
    /// This program is; it may have come in another way.
    Program(&'static str),
    /// Debian's package manager says so.
    Installed,
}

const fn package(name: &'static str, sign: Sign, purpose: &'static str) -> Package {
    Package { name, sign, purpose }
}

/// All packages that a job needs beyond those that Rust itself needs.
const PACKAGES: &[Package] = &[
    package("iproute2", Sign::Program("ip"), "makes the network namespaces of tests and demo"),
    package("iputils-ping", Sign::Program("ping"), "the kernel's side of reachability tests"),
    package("ethtool", Sign::Program("ethtool"), "offload settings of devices in tests"),
    package("tshark", Sign::Program("tshark"), "decodes what we send, independently of us"),
    package(
        "dpdk-dev",
        Sign::Program("dpdk-testpmd"),
        "a guest of vhost-user ports that others have written",
    ),
    package("clang", Sign::Program("clang"), "libxdp (of xsk-rs): compiles its eBPF dispatcher"),
    package("llvm", Sign::Program("llc"), "libxdp (of xsk-rs): assembles its eBPF dispatcher"),
    package("m4", Sign::Program("m4"), "libxdp (of xsk-rs): generates its eBPF dispatcher"),
    package("make", Sign::Program("make"), "libxdp (of xsk-rs): is built by it"),
    package("pkg-config", Sign::Program("pkg-config"), "libxdp (of xsk-rs): finds libraries with it"),
    package("libelf-dev", Sign::Installed, "libxdp (of xsk-rs): links it"),
    package("zlib1g-dev", Sign::Installed, "libxdp (of xsk-rs): links it"),
    package("libclang-dev", Sign::Installed, "libxdp (of xsk-rs): Rust bindings are generated with it"),
];

impl Package {
    fn is_there(&self) -> bool {
        match self.sign {
            Sign::Program(program) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(Into::into));
                folders.map(|folder| folder.join(program)).any(|file: std::path::PathBuf| file.is_file())
            }
            Sign::Installed => {
                let query = Command::new("dpkg-query")
                    .args(["--show", "--showformat=${db:Status-Status}", self.name])
                    .output();
                query.is_ok_and(|output| output.stdout == b"installed")
            }
        }
    }
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// Refuses to go on without root.
pub(crate) fn need_root(why: &str) -> anyhow::Result<()> {
    ensure!(is_root(), "{why} needs root: run it again as root");
    Ok(())
}

/// Installs what is missing, saying so.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("These system packages are missing and will be installed with apt:");
    for package in &missing {
        println!("  {:<14} {}", package.name, package.purpose);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "there is no apt-get; install what these packages bring by the means of your system: {}",
        names.join(" ")
    );
    need_root("installing packages")?;
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], names.as_slice()].concat())?;
    let absent: Vec<&str> =
        missing.iter().filter(|package| !package.is_there()).map(|package| package.name).collect();
    ensure!(absent.is_empty(), "still missing after the installation: {}", absent.join(" "));
    Ok(())
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    println!("apt-get {}", arguments.join(" "));
    let status = Command::new("apt-get")
        // Another apt may be running; a minute or two is worth waiting for.
        .args(["-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        // Questions, such as tshark's about who may capture, are answered by their defaults.
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("cannot start apt-get")?;
    ensure!(status.success(), "apt-get {} failed; its messages are above", arguments.join(" "));
    Ok(())
}
