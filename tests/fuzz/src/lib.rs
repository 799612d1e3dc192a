//! What the fuzz targets do with their input: one function per target, named like it. A property that does
//! not hold is a panic.

mod netlink_frames;
mod pipeline;
mod sandesh_decode;
mod wire_views;

pub use netlink_frames::netlink_frames;
pub use pipeline::pipeline;
pub use sandesh_decode::sandesh_decode;
pub use wire_views::wire_views;
