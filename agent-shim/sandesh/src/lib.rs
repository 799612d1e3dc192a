//! Table driven codec of the sandesh encoding.
