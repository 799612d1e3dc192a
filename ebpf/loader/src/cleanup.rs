//! Taking the programs of an instance off without the process that attached them.

use crate::{
    error::SteerError,
    object,
    pins::{self, pin_error},
    tc,
};
use std::{fs, path::Path};

/// Finds out whether this process may use eBPF, without attaching anything.
///
/// # Errors
/// [`SteerError`] when `bpf(2)` is missing or refused.
pub fn probe() -> Result<(), SteerError> {
    object::open().map(drop)
}

/// Takes the programs of `instance` off all devices of this host and removes their pins: the kernel handles what
/// these devices receive. Returns the devices' names. `bpffs` is where to look, as in
/// [`SteerOptions`](crate::SteerOptions).
///
/// # Errors
/// [`SteerError::Pin`] when a pin cannot be removed, and [`SteerError::BadInstance`].
pub fn detach_all(instance: &str, bpffs: Option<&Path>) -> Result<Vec<String>, SteerError> {
    pins::check_instance(instance)?;
    let mut devices = Vec::new();
    for root in pins::places(bpffs) {
        let folder = root.join(pins::FOLDER).join(instance);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            remove_folder(&entry.path())?;
            let name = pins::device_of(&entry.file_name().to_string_lossy());
            // A filter needs no pin to stay; without the device it is gone already.
            let _ = tc::remove_filters(&name);
            devices.push(name);
        }
        for empty in folder.ancestors().take(2) {
            // The parent may hold other instances.
            let _ = fs::remove_dir(empty);
        }
    }
    devices.sort();
    Ok(devices)
}

/// Removes the pins of one device. The kernel takes a program off when the last reference to its link is gone.
fn remove_folder(folder: &Path) -> Result<(), SteerError> {
    let failed = |error: std::io::Error| pin_error(folder, &error);
    for pin in fs::read_dir(folder).map_err(failed)?.flatten() {
        fs::remove_file(pin.path()).map_err(failed)?;
    }
    fs::remove_dir(folder).map_err(failed)
}
