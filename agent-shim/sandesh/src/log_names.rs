//! What log levels and types are called in texts of vrouters and utilities.

use crate::constants::{log_level, log_type};

/// Levels, the most important one first.
pub const LOG_LEVELS: [(u32, &str); 8] = [
    (log_level::EMERG, "emergency"),
    (log_level::ALERT, "alert"),
    (log_level::CRIT, "critical"),
    (log_level::ERROR, "error"),
    (log_level::WARNING, "warning"),
    (log_level::NOTICE, "notice"),
    (log_level::INFO, "info"),
    (log_level::DEBUG, "debug"),
];

/// Types of the vrouter's own messages, in the order of their places among all log types.
pub const LOG_TYPES: [(i32, &str); 4] = [
    (log_type::VR_LOGTYPE_VROUTER, "vrouter"),
    (log_type::VR_LOGTYPE_USOCK, "usock"),
    (log_type::VR_LOGTYPE_UVHOST, "uvhost"),
    (log_type::VR_LOGTYPE_DPCORE, "dpcore"),
];
