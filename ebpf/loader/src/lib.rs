//! Loads, attaches and pins the steering program.
