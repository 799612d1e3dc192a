//! Being the original forwarder: its file name, and its command line (docs/spec/options.md).

mod cpu_mask;
mod options;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Parser;
use vr_runtime::cpus;

use crate::config::{
    AbsolutePath, Bounded, Buffers, Config, DeviceName, Fabric, Flows, HostMode, Level, Log, Polling,
    RingSize, SocketDir, TableSizes, Threads, Workers,
};
use options::Options;

/// The file name of the original.
pub(crate) const NAME: &str = "contrail-vrouter-dpdk";
/// Where the original writes messages when it leaves the foreground.
const LOG_FILE: &str = "/var/log/contrail/contrail-vrouter-dpdk.log";

/// The bits of a tag that number its VLAN.
const VLAN_ID: u16 = 0xfff;

/// Flows that may wait for the agent at a time, without an option, as in the original.
const HOLD_LIMIT: i64 = 1000;

/// What the command line says.
#[derive(Debug, PartialEq)]
pub(crate) struct Start {
    /// The same as the configuration file would say.
    pub(crate) config: Config,
    /// Leave the foreground.
    pub(crate) daemon: bool,
    /// What was asked for and is not done.
    pub(crate) warnings: Vec<String>,
}

/// An option whose value is not usable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {what}")]
pub(crate) struct OptionError {
    option: &'static str,
    what: String,
}

/// Whether this program was started under the original's name.
pub(crate) fn is_called_so() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new(NAME)))
}

/// Reads the command line. Ends the process on what is not understood, as with `--help`.
pub(crate) fn read() -> Result<Start, OptionError> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    translate(Options::parse(), &cpus::usable(), &mounts)
}

fn bounded<const MIN: u32, const MAX: u32, const DEFAULT: u32>(
    option: &'static str,
    number: Option<i64>,
) -> Result<Option<Bounded<MIN, MAX, DEFAULT>>, OptionError> {
    number.map(Bounded::try_from).transpose().map_err(|what| OptionError { option, what })
}

/// Says the same in the words of the configuration file; the workers run on the CPUs `usable`. What is mounted is a
/// text as in `/proc/self/mounts`.
fn translate(options: Options, usable: &[usize], mounts: &str) -> Result<Start, OptionError> {
    let mut warnings: Vec<String> = options.warnings().into_iter().map(str::to_owned).collect();
    let wants_huge = options.socket_mem.is_some() && !options.no_huge;
    let hugetlbfs = if wants_huge { hugetlbfs(mounts) } else { None };
    if wants_huge && hugetlbfs.is_none() {
        warnings.push("--socket-mem: no hugetlbfs is mounted; tables are in ordinary memory".to_owned());
    }
    let mut start = Start { config: Config::default(), daemon: !options.no_daemon, warnings };
    let config = &mut start.config;
    if let Some(path) = options.socket_dir.clone() {
        let failed = |what| OptionError { option: "--vr_socket_dir", what };
        config.socket_dir = SocketDir::try_from(path).map_err(failed)?;
    }
    config.tables = TableSizes {
        interfaces: bounded("--vr_interfaces", options.interfaces)?,
        nexthops: bounded("--vr_nexthops", options.nexthops)?,
        labels: bounded("--vr_mpls_labels", options.labels)?.unwrap_or_default(),
        vrfs: bounded("--vr_vrfs", options.vrfs)?.unwrap_or_default(),
        flows: bounded("--vr_flow_entries", options.flow_entries)?.unwrap_or_default(),
        flow_overflow: bounded("--vr_oflow_entries", options.flow_overflow)?,
        bridge: bounded("--vr_bridge_entries", options.bridge_entries)?.unwrap_or_default(),
        bridge_overflow: bounded("--vr_bridge_oentries", options.bridge_overflow)?,
        drop_log: bounded("--vr_dropstats_bufsz", options.dropstats_size)?.unwrap_or_default(),
        hugetlbfs,
    };
    let refused = |error: vr_tables::control::LimitError| OptionError {
        option: "sizes of tables",
        what: error.to_string(),
    };
    config.limits().check().map_err(refused)?;
    config.buffers = Buffers {
        packets: bounded("--vr_mempool_sz", options.mempool_size)?.unwrap_or_default(),
        ..Buffers::default()
    };
    config.flows = Flows {
        hold_limit: bounded("--vr_flow_hold_limit", options.hold_limit.or(Some(HOLD_LIMIT)))?
            .unwrap_or_default(),
        close_on_reset: options.close_on_reset != 0,
        ..Flows::default()
    };
    config.workers = workers(usable, options.yield_option)?;
    config.threads = Threads {
        control: cpu_mask::cpus("--service_core_mask", options.service_core_mask.as_deref())?,
        housekeeping: cpu_mask::cpus("--dpdk_ctrl_thread_mask", options.ctrl_thread_mask.as_deref())?,
    };
    config.mock = options.vdev.is_empty();
    config.fabric = fabric(&options, &mut start.warnings)?;
    config.log = Log {
        level: options.log_level.map_or_else(Level::default, level),
        file: options.log_file.or_else(|| start.daemon.then(|| PathBuf::from(LOG_FILE))),
    };
    Ok(start)
}

/// The underlay. Who starts the original with a device gives the address of the host to `vhost0`, so that is the host
/// mode then.
fn fabric(options: &Options, warnings: &mut Vec<String>) -> Result<Fabric, OptionError> {
    let device = devices(&options.vdev, warnings)?;
    let host = if device.is_some() { HostMode::Vhost0 } else { HostMode::Nic };
    let mut fabric = Fabric { device, host, ring: ring(options, warnings), ..Fabric::default() };
    let Some(tci) = options.vlan_tci else {
        if options.vlan_fwd_intf_name.is_some() {
            warnings
                .push("--vlan_fwd_intf_name: without --vlan_tci there is nothing else to forward".to_owned());
        }
        return Ok(fabric);
    };
    if fabric.device.is_none() {
        warnings
            .push("--vlan_tci: it needs a device; name it with --vdev net_af_packet0,iface=NAME".to_owned());
        return Ok(fabric);
    }
    let others = options.vlan_fwd_intf_name.clone().map(DeviceName::try_from).transpose();
    fabric.vlan = bounded("--vlan_tci", Some(i64::from(tci & VLAN_ID)))?;
    fabric.others = others.map_err(|what| OptionError { option: "--vlan_fwd_intf_name", what })?;
    Ok(fabric)
}

/// The longest ring that is asked for, if rings can be so long.
fn ring(options: &Options, warnings: &mut Vec<String>) -> Option<RingSize> {
    let sizes = [options.txd_size, options.rxd_size, options.tx_ring_size, options.rx_ring_size];
    let size = sizes.into_iter().flatten().max()?;
    RingSize::try_from(i64::from(size))
        .map_err(|what| {
            warnings.push(format!("sizes of rings: {what}; they are chosen by the number of buffers"));
        })
        .ok()
}

/// The first hugetlbfs that is mounted under a path without characters that have to be escaped there.
fn hugetlbfs(mounts: &str) -> Option<AbsolutePath> {
    mounts.lines().find_map(|line| {
        let mut columns = line.split(' ').skip(1);
        let path = columns.next().filter(|path| !path.contains('\\'))?;
        if columns.next() == Some("hugetlbfs") {
            AbsolutePath::try_from(PathBuf::from(path)).ok()
        } else {
            None
        }
    })
}

/// One worker for each CPU that the affinity mask names.
fn workers(usable: &[usize], yields: Option<u8>) -> Result<Workers, OptionError> {
    let count = usable.len().clamp(1, 64) as i64;
    let polling = if yields == Some(0) { Polling::Latency } else { Polling::Balanced };
    Ok(Workers {
        count: bounded("affinity mask", Some(count))?.unwrap_or_default(),
        cpus: usable.iter().map(|cpu| *cpu as u16).collect(),
        polling,
    })
}

/// The original's levels are those of syslog, from 1 on.
const fn level(number: u8) -> Level {
    match number {
        0..=4 => Level::Error,
        5 => Level::Warn,
        6 | 7 => Level::Info,
        _ => Level::Debug,
    }
}

/// The fabric device among DPDK's virtual devices.
fn devices(vdevs: &[String], warnings: &mut Vec<String>) -> Result<Option<DeviceName>, OptionError> {
    let mut found = None;
    for vdev in vdevs {
        let mut parts = vdev.split(',');
        let kind = parts.next().unwrap_or_default();
        let device = parts.find_map(|part| part.strip_prefix("iface="));
        match device {
            Some(name) => {
                let failed = |what| OptionError { option: "--vdev", what };
                found = Some(DeviceName::try_from(name.to_owned()).map_err(failed)?);
            }
            None if kind.contains("bond") => warnings.push(format!(
                "--vdev {kind}: make the bond in the kernel (`ip link add bond0 type bond`) and name it: \
                 --vdev net_af_packet0,iface=bond0; the agent's fabric interface is taken until then"
            )),
            None => warnings
                .push(format!("--vdev {kind}: it names no `iface=`; the agent's fabric interface is taken")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::options::Options;
    use super::{LOG_FILE, Start, translate};
    use crate::config::{HostMode, Level, Polling};
    use clap::{CommandFactory, Parser};
    use std::path::Path;

    const MOUNTS: &str =
        "tmpfs /run tmpfs rw 0 0\nnone /my\\040huge hugetlbfs rw 0 0\nnone /huge hugetlbfs rw 0 0\n";

    fn start(arguments: &[&str]) -> Result<Start, String> {
        let options = Options::try_parse_from([&["contrail-vrouter-dpdk"], arguments].concat());
        let options = options.map_err(|error| error.to_string())?;
        translate(options, &[1, 3], MOUNTS).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_test_rig_gets_mock_mode_in_the_foreground() {
        let rig = "--no-daemon --no-huge --vr_packet_sz 2048 --vr_uncond_close_flow_on_tcp_rst 1 --vr_socket_dir /tmp/d";
        let start = start(&rig.split(' ').collect::<Vec<_>>()).unwrap();
        assert!(start.config.mock && !start.daemon && start.warnings.is_empty());
        assert!(start.config.flows.close_on_reset);
        assert_eq!(start.config.socket_dir(), Path::new("/tmp/d"));
        assert_eq!((start.config.workers.count.get(), &*start.config.workers.cpus), (2, &[1, 3][..]));
        assert_eq!(start.config.log.file, None);
    }

    #[test]
    fn a_fabric_device_is_no_test_rig() {
        let one =
            start(&["--vdev", "net_af_packet0,iface=eth7", "--log-level=8", "--yield_option", "0"]).unwrap();
        assert_eq!(one.config.fabric.device.as_ref().map(crate::config::DeviceName::as_str), Some("eth7"));
        assert!(!one.config.mock && one.daemon);
        assert_eq!(one.config.fabric.host, HostMode::Vhost0, "scripts of the original put the address there");
        assert_eq!((one.config.log.level, one.config.workers.polling), (Level::Debug, Polling::Latency));
        assert_eq!(one.config.log.file.as_deref(), Some(Path::new(LOG_FILE)));
        let bond = start(&["--vdev", "eth_bond0,mode=4,slave=0000:04:00.0", "--socket-mem", "1024"]).unwrap();
        assert!(!bond.config.mock && bond.warnings.len() == 1, "{:?}", bond.warnings);
        assert_eq!(bond.config.fabric.host, HostMode::Nic, "no device is known at the start");
        assert!(start(&["--vdev", "x,iface=much-too-long-name"]).unwrap_err().contains("--vdev"));
    }

    #[test]
    fn memory_for_dpdk_means_tables_in_huge_pages_if_there_is_a_place() {
        let place = |start: &Start| start.config.tables.hugetlbfs.as_ref().map(|path| path.path().to_owned());
        let asked = start(&["--socket-mem", "1024"]).unwrap();
        assert_eq!((place(&asked), asked.warnings.len()), (Some("/huge".into()), 0));
        let refused = start(&["--socket-mem", "1024", "--no-huge"]).unwrap();
        assert_eq!((place(&refused), refused.warnings.len()), (None, 0));
        let options = Options::try_parse_from(["contrail-vrouter-dpdk", "--socket-mem", "1024"]).unwrap();
        let nowhere = translate(options, &[1], "tmpfs /run tmpfs rw 0 0\n").unwrap();
        assert_eq!((place(&nowhere), nowhere.warnings.len()), (None, 1));
    }

    #[test]
    fn sizes_are_checked() {
        let sizes = "--vr_flow_entries 4096 --vr_oflow_entries 1024 --vr_bridge_entries 8192 --vr_bridge_oentries 512 \
                     --vr_mpls_labels 6000 --vr_nexthops 70 --vr_vrfs 80 --vr_mempool_sz 2048 --vr_flow_hold_limit 9 \
                     --vr_dropstats_bufsz 10";
        let config = start(&sizes.split_whitespace().collect::<Vec<_>>()).unwrap().config;
        let limits = config.limits();
        assert_eq!((limits.flows.entries, limits.flows.overflow), (4096, 1024));
        assert_eq!((limits.bridge.entries, limits.bridge.overflow), (8192, 512));
        assert_eq!((limits.labels, limits.nexthops, limits.vrfs), (6000, 70, 80));
        assert_eq!(limits.drop_log, 10);
        assert_eq!((config.buffers.sizes().packets, config.flows.hold_limit.get()), (2048, 9));
        let refused = start(&["--vr_vrfs", "70000"]).unwrap_err();
        assert!(refused.starts_with("--vr_vrfs: 70000 is not a number from "), "{refused}");
        assert!(start(&["--vr_socket_dir", "relative"]).unwrap_err().contains("--vr_socket_dir"));
        let both = start(&["--vr_flow_entries", "16777212", "--vr_oflow_entries", "16777212"]).unwrap_err();
        assert!(both.starts_with("sizes of tables: "), "{both}");
    }

    #[test]
    fn a_vlan_and_ring_sizes_are_those_of_the_fabric_device() {
        let device = ["--vdev", "net_af_packet0,iface=eth7"];
        let vlan = ["--vlan_tci", "24676", "--vlan_fwd_intf_name", "rest"];
        let rings = ["--dpdk_rxd_sz", "512", "--vr_dpdk_tx_ring_sz", "1024"];
        let start_with = |parts: &[&[&str]]| start(&parts.concat()).unwrap();
        let fabric = start_with(&[&device, &vlan, &rings]).config.fabric;
        assert_eq!(fabric.vlan.map(super::Bounded::get), Some(100), "without the priority");
        assert_eq!(fabric.others.as_ref().map(super::DeviceName::as_str), Some("rest"));
        assert_eq!(fabric.ring.map(super::RingSize::get), Some(1024));
        for (parts, warning) in [
            (&[&device[..], &vlan[2..]][..], "--vlan_fwd_intf_name: "),
            (&[&vlan[..]], "--vlan_tci: "),
            (&[&device[..], &["--dpdk_txd_sz", "1000"]], "sizes of rings: 1000 "),
        ] {
            let start = start_with(parts);
            assert!(
                start.warnings.len() == 1 && start.warnings[0].starts_with(warning),
                "{:?}",
                start.warnings
            );
            let fabric = start.config.fabric;
            assert!(fabric.vlan.is_none() && fabric.others.is_none() && fabric.ring.is_none());
        }
        assert!(
            start(&[&device[..], &["--vlan_tci", "0"]].concat()).unwrap_err().starts_with("--vlan_tci: ")
        );
    }

    #[test]
    fn masks_place_the_other_threads() {
        let threads = start(&["--service_core_mask", "0x6", "--dpdk_ctrl_thread_mask", "0-1,4"]);
        let threads = threads.unwrap().config.threads;
        assert_eq!((threads.control, threads.housekeeping), (vec![1, 2], vec![0, 1, 4]));
        assert!(start(&["--service_core_mask", "six"]).unwrap_err().starts_with("--service_core_mask: "));
    }

    #[test]
    fn unknown_options_come_with_a_hint() {
        let refused = start(&["--vr_flow_entrys", "5"]).unwrap_err();
        assert!(refused.contains("--vr_flow_entries") && refused.contains("--help"), "{refused}");
    }
}
