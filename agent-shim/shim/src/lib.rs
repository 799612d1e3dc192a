//! Control sessions and the translation between messages and tables.
