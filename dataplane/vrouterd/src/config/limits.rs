//! Values that are checked where they are read, so that an error names their line.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A number from `MIN` to `MAX`, `DEFAULT` without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Bounded<const MIN: u32, const MAX: u32, const DEFAULT: u32>(u32);

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Bounded<MIN, MAX, DEFAULT> {
    /// The number.
    #[must_use]
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Default for Bounded<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> TryFrom<i64> for Bounded<MIN, MAX, DEFAULT> {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u32::try_from(number)
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Self)
            .ok_or_else(|| format!("{number} is not a number from {MIN} to {MAX}"))
    }
}

/// Entries of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct RingSize(u32);

impl RingSize {
    /// The number.
    #[must_use]
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for RingSize {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        let size = u32::try_from(number).ok().filter(|size| size.is_power_of_two());
        size.filter(|size| (64..=32_768).contains(size))
            .map(Self)
            .ok_or_else(|| format!("{number} is no power of two from 64 to 32768"))
    }
}

/// Name of a network device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct DeviceName(String);

impl DeviceName {
    /// The name.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
        if fits && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':')) {
            return Ok(Self(name));
        }
        Err(format!(
            "`{name}` is no name of a network device: 1 to 15 printable characters without `/` and `:`"
        ))
    }
}

/// Name of this daemon among those of the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct InstanceName(String);

impl InstanceName {
    /// The name.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for InstanceName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl TryFrom<String> for InstanceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=64).contains(&name.len()) && name.chars().all(usable) {
            return Ok(Self(name));
        }
        Err(format!("the instance name `{name}` is not usable; take 1 to 64 letters, digits, `-` or `_`"))
    }
}

/// An absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub(crate) struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// The path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for AbsolutePath {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(format!("`{}` is no absolute path", path.display()))
        }
    }
}

/// Where features of guests are kept; where the original keeps them, without one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct FeaturesDir(AbsolutePath);

impl FeaturesDir {
    /// The path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for FeaturesDir {
    fn default() -> Self {
        Self(AbsolutePath("/var/lib/contrail/vm_feature".into()))
    }
}

/// An absolute path short enough for the sockets in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub(crate) struct SocketDir(PathBuf);

/// Longest path of a Unix socket in bytes, without its NUL (unix(7)).
const SOCKET_PATH: usize = 107;
/// The longest name of a socket in the directory.
const LONGEST_NAME: &str = "/vrouterd_status";

impl SocketDir {
    /// The path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for SocketDir {
    fn default() -> Self {
        Self("/var/run/vrouter".into())
    }
}

impl TryFrom<PathBuf> for SocketDir {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        let longest = SOCKET_PATH - LONGEST_NAME.len();
        if path.is_absolute() && path.as_os_str().len() <= longest {
            return Ok(Self(path));
        }
        Err(format!("`{}` is no absolute path of at most {longest} bytes", path.display()))
    }
}
