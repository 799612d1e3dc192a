//! Every recurring job, one command each.

fn main() {}
