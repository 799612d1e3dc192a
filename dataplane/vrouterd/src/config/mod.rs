//! The configuration file (docs/configuration.md).

mod agent;
mod control;
mod error;
mod flows;
mod limits;
mod release;
mod sizes;
mod threads;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vr_tables::control::Limits;

pub(crate) use agent::Agent;
pub(crate) use control::Control;
pub(crate) use error::ConfigError;
pub(crate) use flows::Flows;
pub(crate) use limits::{AbsolutePath, Bounded, DeviceName, FeaturesDir, InstanceName, RingSize, SocketDir};
pub(crate) use release::Compat;
pub(crate) use sizes::{Buffers, TableSizes};
pub(crate) use threads::{Polling, Threads, Workers};

/// Everything that can be configured. Each key has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Directory of the control socket, the agent's packet socket and the shared tables.
    pub(crate) socket_dir: SocketDir,
    /// Name of this daemon among those of the host; its eBPF programs are pinned under it.
    pub(crate) instance: InstanceName,
    /// The agent.
    pub(crate) agent: Agent,
    /// Who may use the control socket.
    pub(crate) control: Control,
    /// The underlay.
    pub(crate) fabric: Fabric,
    /// The threads that forward.
    pub(crate) workers: Workers,
    /// The other threads.
    pub(crate) threads: Threads,
    /// Sizes of the tables.
    pub(crate) tables: TableSizes,
    /// Packet buffers.
    pub(crate) buffers: Buffers,
    /// Virtual machines.
    pub(crate) vhost_user: VhostUser,
    /// Flows.
    pub(crate) flows: Flows,
    /// Messages.
    pub(crate) log: Log,
    /// Release of agent and utilities.
    pub(crate) compat: Compat,
    /// TCP port on 127.0.0.1 on which clients of R2.20 are served.
    pub(crate) control_port: Bounded<1, 65_535, 20_914>,
    /// Test mode: every interface, the fabric's as well, is a vhost-user client (`docs/spec/test-rig.md`).
    pub(crate) mock: bool,
}

/// The underlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fabric {
    /// Network device; without it the name of the agent's fabric interface is taken.
    pub(crate) device: Option<DeviceName>,
    /// Who owns the address of the host.
    pub(crate) host: HostMode,
    /// How packets of the device are received and sent.
    pub(crate) backend: Backend,
    /// Entries of each ring of `AF_XDP`; without it, what the number of buffers allows.
    pub(crate) ring: Option<RingSize>,
    /// VLAN of the device that is the underlay; the kernel keeps the others.
    pub(crate) vlan: Option<Bounded<1, 4094, 1>>,
    /// Name of a device to be made for what is not of that VLAN.
    pub(crate) others: Option<DeviceName>,
}

impl Fabric {
    /// Whether the host mode goes with the rest.
    const fn check_host(&self) -> Result<(), &'static str> {
        match (self.host, &self.device, self.backend) {
            (HostMode::Vhost0, None, _) => {
                Err("host = \"vhost0\" needs the name of the fabric device: the host is connected before an \
                     agent names it; set `device` in [fabric]")
            }
            (HostMode::Vhost0, _, Backend::Packet) => {
                Err("host = \"vhost0\" needs AF_XDP; use another backend, or host = \"nic\"")
            }
            _ => Ok(()),
        }
    }

    /// Whether what is said of a VLAN can be done.
    const fn check_vlan(&self) -> Result<(), (&'static str, &'static str)> {
        match (&self.device, self.vlan, &self.others) {
            (None, Some(_), _) => {
                Err(("vlan", "`vlan` needs the name of the device; set `device` in [fabric]"))
            }
            (_, None, Some(_)) => {
                Err(("others", "`others` is for a device with a `vlan`; set that in [fabric]"))
            }
            _ => Ok(()),
        }
    }
}

/// Who owns the address of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostMode {
    /// The device: the kernel keeps its traffic.
    #[default]
    Nic,
    /// `vhost0`: all traffic goes through the daemon.
    Vhost0,
}

/// How packets of the fabric device are received and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// `AF_XDP` by the faster implementation.
    #[default]
    Auto,
    /// `AF_XDP` by the project's own rings.
    Ring,
    /// `AF_XDP` by the library xsk-rs.
    XskRs,
    /// `AF_PACKET`, for devices and kernels without `AF_XDP`.
    Packet,
}

/// Virtual machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VhostUser {
    /// Which side of the sockets this daemon is; without it what the release does.
    pub(crate) role: Option<VhostUserRole>,
    /// Where the features that guests have negotiated are kept, a file for each interface.
    pub(crate) features: FeaturesDir,
}

/// Which side of the sockets of virtual machines this daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VhostUserRole {
    /// The virtual machine listens.
    Client,
    /// The daemon listens.
    Server,
}

impl From<VhostUserRole> for vr_io::VhostUserRole {
    fn from(role: VhostUserRole) -> Self {
        match role {
            VhostUserRole::Client => Self::Client,
            VhostUserRole::Server => Self::Server,
        }
    }
}

/// Messages to standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// The least important ones that are written.
    pub(crate) level: Level,
    /// Where they are written; standard error without it.
    pub(crate) file: Option<PathBuf>,
}

/// Importance of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the usual names")]
pub(crate) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file and, for what stands in it, the line.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::parse(path, text, &error))?;
        config.fabric.check_host().map_err(|what| ConfigError::Parse {
            path: path.to_owned(),
            line: error::line_of(text, &["host"]),
            what: what.to_owned(),
        })?;
        config.fabric.check_vlan().map_err(|(key, what)| ConfigError::Parse {
            path: path.to_owned(),
            line: error::line_of(text, &[key]),
            what: what.to_owned(),
        })?;
        // Entries and overflow entries have one bound together.
        config.limits().check().map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            line: error::line_of(text, &[error.field, &format!("{}_overflow", error.field)]),
            what: error.to_string(),
        })?;
        config.check_nexthops().map_err(|what| ConfigError::Parse {
            path: path.to_owned(),
            line: error::line_of(text, &["nexthops"]),
            what,
        })?;
        Ok(config)
    }

    /// Sizes of the tables.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        self.tables.limits(self.compat)
    }

    /// Directory of the sockets and shared tables.
    #[must_use]
    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.socket_dir.path().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{AbsolutePath, Backend, Compat, Config, HostMode, Level, Polling, VhostUserRole};
    use std::path::Path;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("/etc/v.toml"), text).map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        let refusal = parse(text).unwrap_err();
        assert!(!refusal.contains('\n'), "{refusal}");
        refusal
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.socket_dir(), Path::new("/var/run/vrouter"));
        assert_eq!((config.workers.count.get(), config.workers.polling), (1, Polling::Balanced));
        assert_eq!((config.fabric.host, config.fabric.backend), (HostMode::Nic, Backend::Auto));
        assert_eq!((config.instance.as_str(), config.log.level), ("default", Level::Info));
        assert_eq!(config.limits(), vr_tables::control::Limits::default());
        assert_eq!(config.buffers.sizes(), vr_frame::PoolSizes::default());
    }

    #[test]
    fn every_key_is_taken() {
        let config = parse(
            "socket_dir = \"/run/n1\"\ninstance = \"n1\"\ncompat = \"current\"\ncontrol_port = 5000\n\
             [fabric]\ndevice = \"eth1\"\nhost = \"nic\"\nbackend = \"xsk-rs\"\n\
             [workers]\ncount = 2\ncpus = [1, 0]\npolling = \"power\"\n\
             [tables]\ninterfaces = 300\nnexthops = 5000\nlabels = 6000\nvrfs = 70\nflows = 4096\n\
             flow_overflow = 1024\nbridge = 8192\nbridge_overflow = 2048\n\
             hugetlbfs = \"/dev/hugepages\"\ndrop_log = 7\n[control]\nmode = \"0660\"\ngroup = \"1\"\n\
             [buffers]\npackets = 4096\nsuper_frames = 64\n[log]\nlevel = \"debug\"\nfile = \"/l\"\n\
             [vhost_user]\nrole = \"server\"\nfeatures = \"/f\"\n",
        )
        .unwrap();
        assert_eq!(config.fabric.device.as_ref().map(super::DeviceName::as_str), Some("eth1"));
        assert_eq!(config.workers.cpus, [1, 0]);
        assert!(config.control.mode.is_some() && config.control.group.is_some());
        assert_eq!(config.limits().drop_log, 7);
        let limits = config.limits();
        assert_eq!((limits.interfaces, limits.nexthops, limits.labels, limits.vrfs), (300, 5000, 6000, 70));
        assert_eq!((limits.flows.entries, limits.flows.overflow), (4096, 1024));
        assert_eq!((limits.bridge.entries, limits.bridge.overflow), (8192, 2048));
        let hugetlbfs = config.tables.hugetlbfs.as_ref().map(AbsolutePath::path);
        assert_eq!(hugetlbfs, Some(Path::new("/dev/hugepages")));
        assert_eq!((config.buffers.sizes().packets, config.buffers.sizes().supers), (4096, 64));
        assert_eq!((config.vhost_user_role(), config.control_port.get()), (VhostUserRole::Server, 5000));
        assert_eq!(config.vhost_user.features.path(), Path::new("/f"));
        assert_eq!(config.log.file, Some("/l".into()));
        assert!(parse("mock = true\n").unwrap().mock);
    }

    #[test]
    fn errors_name_file_line_and_cause() {
        let unknown = refusal("[workers]\ncount = 2\ncolour = 3\n");
        assert!(unknown.starts_with("/etc/v.toml, line 3: unknown field `colour`"), "{unknown}");
        let range = refusal("\n[workers]\ncount = 0\n");
        assert!(range.starts_with("/etc/v.toml, line 3: ") && range.contains("1 to 64"), "{range}");
        let kind = refusal("[fabric]\nbackend = \"dpdk\"\n");
        assert!(kind.contains("line 2") && kind.contains("`dpdk`") && kind.contains("`xsk-rs`"), "{kind}");
        let syntax = refusal("[fabric\n");
        assert!(syntax.contains("line 1"), "{syntax}");
        let device = refusal("[fabric]\n\ndevice = \"much-too-long-name\"\n");
        assert!(device.contains("line 3") && device.contains("15"), "{device}");
        assert!(refusal("socket_dir = \"relative\"").contains("line 1"));
        assert!(refusal("[control]\nmode = \"a\"").contains("line 2"));
        assert!(refusal("[tables]\nhugetlbfs = \"\"").contains("line 2"));
        assert!(refusal("instance = \"a/b\"").contains("line 1"));
        assert!(refusal("[tables]\nflows = 3\n").contains("line 2"));
    }

    #[test]
    fn tables_too_large_are_refused_by_file_and_line() {
        assert_eq!(
            refusal("[tables]\nvrfs = 10\nflows = 16777217\n"),
            "/etc/v.toml, line 3: 16777217 is not a number from 1024 to 16777212"
        );
        assert_eq!(
            refusal("[tables]\nvrfs = 10\nflows = 16777212\n"),
            "/etc/v.toml, line 3: 20132860 flow entries, overflow included, are not possible; choose 1024 to 16777212"
        );
        assert!(parse("[tables]\nflows = 16777212\nflow_overflow = 0\n").is_ok());
        let bridge = refusal("tables = { vrfs = 10, bridge = 2097148, bridge_overflow = 4 } # bridge\n");
        assert!(bridge.starts_with("/etc/v.toml, line 1: 2097152 bridge entries"), "{bridge}");
        let overflow = refusal("[tables]\nbridge_overflow = 2097151\n");
        assert!(overflow.starts_with("/etc/v.toml, line 2: 2359295 bridge entries"), "{overflow}");
        let dotted = refusal("\n# flows = 1\ntables.flows = 16777212\ntables.flow_overflow = 5\n");
        assert!(dotted.starts_with("/etc/v.toml, line 3: 16777217 flow entries"), "{dotted}");
    }

    #[test]
    fn the_release_decides_sizes_and_roles() {
        let current = Config::default();
        assert_eq!((current.compat, current.vhost_user_role()), (Compat::Current, VhostUserRole::Client));
        let old = parse("compat = \"r2.20\"\n").unwrap();
        assert_eq!((old.compat, old.vhost_user_role()), (Compat::R220, VhostUserRole::Server));
        assert_eq!((old.limits().nexthops, old.limits().interfaces), (65_536, 4352));
        assert_eq!(old.control_port.get(), 20_914);
        let mock = parse("compat = \"r2.20\"\nmock = true\n").unwrap();
        assert_eq!(mock.vhost_user_role(), VhostUserRole::Client);
        let own = parse("compat = \"r2.20\"\n[tables]\nnexthops = 100\n[vhost_user]\nrole = \"client\"\n");
        let own = own.unwrap();
        assert_eq!((own.limits().nexthops, own.vhost_user_role()), (100, VhostUserRole::Client));
        assert_eq!(
            refusal("compat = \"r2.20\"\n[tables]\nnexthops = 65537\n"),
            "/etc/v.toml, line 3: 65537 nexthops are not possible with compat = \"r2.20\"; choose at most 65536"
        );
        let unknown = refusal("\ncompat = \"r3\"\n");
        assert!(unknown.contains("line 2") && unknown.contains("`r2.20`"), "{unknown}");
    }

    #[test]
    fn the_address_of_the_host_on_vhost0_needs_a_device_and_xdp() {
        let config = parse("[fabric]\nhost = \"vhost0\"\ndevice = \"eth0\"\n").unwrap();
        assert_eq!(config.fabric.host, HostMode::Vhost0);
        let without = refusal("[fabric]\n# host\nhost = \"vhost0\"\n");
        assert!(without.starts_with("/etc/v.toml, line 3: ") && without.contains("`device`"), "{without}");
        let packet = refusal("[fabric]\ndevice = \"eth0\"\nbackend = \"packet\"\nhost = \"vhost0\"\n");
        assert!(packet.starts_with("/etc/v.toml, line 4: ") && packet.contains("AF_XDP"), "{packet}");
    }

    #[test]
    fn a_vlan_needs_a_device_and_others_need_a_vlan() {
        let config =
            parse("[fabric]\ndevice = \"eth0\"\nvlan = 100\nothers = \"rest\"\nring = 512\n").unwrap();
        assert_eq!(config.fabric.vlan.map(super::Bounded::get), Some(100));
        assert_eq!(config.fabric.ring.map(super::RingSize::get), Some(512));
        assert!(refusal("[fabric]\n\nvlan = 100\n").starts_with("/etc/v.toml, line 3: `vlan` needs"));
        assert!(refusal("[fabric]\ndevice = \"e\"\nothers = \"r\"\n").contains("line 3: `others`"));
        assert!(refusal("[fabric]\ndevice = \"e\"\nvlan = 4095\n").contains("line 3: 4095"));
        assert!(refusal("[fabric]\nring = 1000\n").contains("line 2: 1000 is no power of two"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::read(Path::new("/nowhere/v.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/v.toml"), "{error}");
    }
}
