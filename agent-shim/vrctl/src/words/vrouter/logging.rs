//! Log level and log types.

use std::io::{self, Write};

use clap::ValueEnum;
use sandesh::constants::{log_level, log_type};
use sandesh::messages::VrouterOps;

/// Levels by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

/// Parts of the vrouter that log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Vrouter,
    Usock,
    Uvhost,
    Dpcore,
}

const TYPES: [(i32, &str); 4] = [
    (log_type::VR_LOGTYPE_VROUTER, "vrouter"),
    (log_type::VR_LOGTYPE_USOCK, "usock"),
    (log_type::VR_LOGTYPE_UVHOST, "uvhost"),
    (log_type::VR_LOGTYPE_DPCORE, "dpcore"),
];

const LEVELS: [(u32, &str); 8] = [
    (log_level::EMERG, "emergency"),
    (log_level::ALERT, "alert"),
    (log_level::CRIT, "critical"),
    (log_level::ERROR, "error"),
    (log_level::WARNING, "warning"),
    (log_level::NOTICE, "notice"),
    (log_level::INFO, "info"),
    (log_level::DEBUG, "debug"),
];

/// Options about logging.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct Logging {
    /// Show the level.
    #[arg(long, group = "action")]
    get_log_level: bool,
    /// Show the types that are on.
    #[arg(long, group = "action")]
    get_enabled_log_types: bool,
    /// Set the level.
    #[arg(long, value_enum, value_name = "LEVEL", group = "action")]
    set_log_level: Option<Level>,
    /// Switch types on.
    #[arg(long, value_enum, value_name = "TYPE", group = "action")]
    enable_log_type: Vec<Type>,
    /// Switch types off.
    #[arg(long, value_enum, value_name = "TYPE", group = "action")]
    disable_log_type: Vec<Type>,
}

impl Logging {
    /// Whether something is to be shown.
    pub(super) fn is_question(&self) -> bool {
        self.get_log_level || self.get_enabled_log_types
    }

    /// Shows it.
    pub(super) fn answer(&self, out: &mut dyn Write, ops: &VrouterOps) -> io::Result<()> {
        if self.get_log_level {
            let name = LEVELS.iter().find(|(number, _)| *number == ops.vo_log_level).map(|(_, name)| *name);
            writeln!(out, "Current log level: {}", name.unwrap_or("unknown"))?;
        }
        if self.get_enabled_log_types {
            let on = TYPES.iter().filter(|(number, _)| ops.vo_log_type_enable.contains(number));
            let names: Vec<&str> = on.map(|(_, name)| *name).collect();
            writeln!(out, "Enabled log types: {}", names.join(" "))?;
        }
        Ok(())
    }

    /// Writes into the request what is to be set.
    pub(super) fn write(&self, request: &mut VrouterOps) {
        let numbers = |types: &[Type]| types.iter().map(|kind| TYPES[*kind as usize].0).collect();
        request.vo_log_level = self.set_log_level.map_or(0, |level| LEVELS[level as usize].0);
        request.vo_log_type_enable = numbers(&self.enable_log_type);
        request.vo_log_type_disable = numbers(&self.disable_log_type);
    }
}
