//! Network namespaces, made with `ip` and entered by threads.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// A named network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with loopback up and without IPv6, whose chatter would disturb counts.
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let namespace = Self { name: name.to_owned() };
        namespace.ip(&["link", "set", "lo", "up"])?;
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
        Ok(namespace)
    }

    /// A namespace that exists already.
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of all namespaces with a prefix.
    pub fn names(prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// Removes a namespace with everything in it.
    pub fn delete(name: &str) -> Result<()> {
        ip(&["netns", "delete", name]).map(drop)
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// A command that will run in the namespace, with a view of `/sys` that fits.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Sets a kernel parameter of the namespace, given as a path below `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| {
            std::fs::write(format!("/proc/sys/{path}"), value).with_context(|| format!("setting {path}"))
        })?
    }

    /// Runs a closure in a thread that has entered the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            thread.join().map_err(|_| anyhow::anyhow!("a thread in {} panicked", self.name))?
        })
    }

    /// Moves the calling thread into the namespace for good.
    pub fn enter(&self) -> Result<()> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.name))
    }

    /// Makes a pair of connected devices, one in each namespace.
    pub fn veth(&self, device: &str, other: &Self, other_device: &str) -> Result<()> {
        let pair =
            ["link", "add", device, "type", "veth", "peer", "name", other_device, "netns", &other.name];
        self.ip(&pair).map(drop)
    }

    /// Gives a device an address.
    pub fn address(&self, device: &str, address: std::net::Ipv4Addr, length: u32) -> Result<()> {
        self.ip(&["address", "add", &format!("{address}/{length}"), "dev", device]).map(drop)
    }

    /// Brings a device up with an MTU and, if given, a MAC address.
    pub fn up(&self, device: &str, mtu: u32, mac: Option<[u8; 6]>) -> Result<()> {
        if let Some(mac) = mac {
            self.ip(&["link", "set", device, "address", &mac_text(mac)])?;
        }
        self.ip(&["link", "set", device, "mtu", &mtu.to_string(), "up"]).map(drop)
    }
}

/// A MAC address in the usual notation.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).output().context("running `ip` of iproute2")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
