//! A stand-in for the vrouter agent, with an encoder of its own.
