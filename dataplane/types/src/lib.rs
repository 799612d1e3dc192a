//! Identifiers, addresses, drop reasons and errors shared by every layer.
