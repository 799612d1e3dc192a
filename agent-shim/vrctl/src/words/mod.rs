//! The words, one file each.

mod dropstats;
mod flow;
mod info;
mod mirror;
mod mpls;
mod nh;
mod qosmap;
mod rt;
mod tables;
mod usage;
mod usages;
mod vif;
mod vrfstats;
mod vrftable;
mod vrmemstats;
mod vrouter;
mod vxlan;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::session::Session;
use usage::Usage;

/// One of the original's utilities.
trait Word: clap::Parser {
    /// Its name.
    const NAME: &'static str;
    /// What wrong options are answered with.
    const USAGE: Usage = Usage::PLAIN;
    /// Whether it takes `--sock-dir`, as test rigs call it.
    const SOCK_DIR: bool = true;

    /// Does the work.
    fn run(self, session: &mut Session) -> Result<(), Failure>;
}

/// Runs a word with its name and arguments, and the directory that `vrctl` was given.
type Run = fn(&[OsString], Option<PathBuf>) -> Result<(), Failure>;

/// Every word and what it is about.
const WORDS: &[(&str, Run, &str)] = &[
    ("vif", start::<vif::Vif>, "interfaces"),
    ("nh", start::<nh::Nh>, "nexthops"),
    ("rt", start::<rt::Rt>, "routes and bridge entries"),
    ("flow", start::<flow::FlowWord>, "flows"),
    ("mpls", start::<mpls::Mpls>, "incoming MPLS labels"),
    ("vxlan", start::<vxlan::Vxlan>, "incoming VXLAN network identifiers"),
    ("mirror", start::<mirror::Mirror>, "destinations of mirrored packets"),
    ("dropstats", start::<dropstats::DropStats>, "dropped packets by reason"),
    ("vrfstats", start::<vrfstats::VrfStats>, "packets of VRFs by kind of nexthop"),
    ("vrftable", start::<vrftable::VrfTable>, "VRFs"),
    ("vrouter", start::<vrouter::Vrouter>, "limits, options and logging"),
    ("qosmap", start::<qosmap::QosMap>, "forwarding classes"),
    ("vrmemstats", start::<vrmemstats::VrMemStats>, "objects in memory"),
    ("dpdkinfo", start::<info::DpdkInfo>, "ports, workers and buffers of the forwarder"),
    ("dpdkconf", start::<info::DpdkConf>, "settings of the forwarder"),
    ("vrinfo", start::<info::VrInfo>, "version"),
];

/// The word with this name.
pub(crate) fn find(name: &str) -> Option<Run> {
    WORDS.iter().find(|(word, ..)| *word == name).map(|(_, run, _)| *run)
}

/// The list of the words.
pub(crate) fn help() -> String {
    let lines: Vec<String> = WORDS.iter().map(|(word, _, about)| format!("  {word:<11} {about}")).collect();
    format!("Words:\n{}", lines.join("\n"))
}

fn start<W: Word>(arguments: &[OsString], directory: Option<PathBuf>) -> Result<(), Failure> {
    let wrong = |error: clap::Error| usage::report(W::NAME, &W::USAGE, &error);
    let matches = places(W::command(), W::SOCK_DIR).try_get_matches_from(arguments).map_err(wrong)?;
    let word = W::from_arg_matches(&matches).map_err(wrong)?;
    let given = |option: &str| matches.try_get_one::<PathBuf>(option).ok().flatten().cloned();
    let mut session = Session::new(given(SOCK_DIR), given(SOCKET_DIR).or(directory));
    let result = word.run(&mut session);
    session.out.flush()?;
    result
}

/// Names of the options about the place of the vrouter.
const SOCK_DIR: &str = "sock-dir";
const SOCKET_DIR: &str = "socket-dir";

/// Adds these options to those of a word.
fn places(command: clap::Command, has_sock_dir: bool) -> clap::Command {
    let option = |name: &'static str, help: &'static str| {
        let option = clap::Arg::new(name).long(name).value_name("DIR").help(help);
        option.value_parser(clap::value_parser!(PathBuf))
    };
    let command = command.arg(option(SOCKET_DIR, "The daemon's socket directory"));
    if has_sock_dir {
        command.arg(
            option(SOCK_DIR, "The same, as test rigs of the original call it").conflicts_with(SOCKET_DIR),
        )
    } else {
        command
    }
}
