//! Header views, builders, checksums and encapsulation templates.
