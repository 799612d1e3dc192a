//! Who may use the control socket.

use nix::unistd::{Gid, Group};
use serde::Deserialize;

/// Who may use the control and the status socket, and read the shared tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Control {
    /// Permissions of the sockets; without them what the umask leaves.
    pub(crate) mode: Option<Mode>,
    /// Group of the sockets and of the shared tables; that of the process without it.
    pub(crate) group: Option<GroupName>,
}

/// Permissions of a socket, of which writing is the one to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Mode(u32);

impl Mode {
    /// The bits.
    #[must_use]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o777 && text.len() >= 3);
        match bits {
            // An agent runs as root, which needs none of it; a socket nobody can use is a mistake all the same.
            Some(bits) if bits & 0o200 != 0 => Ok(Self(bits)),
            _ => Err(format!("`{text}` are no permissions of a socket; write them as in \"0660\"")),
        }
    }
}

/// A group of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct GroupName(Gid);

impl GroupName {
    /// Its number.
    #[must_use]
    pub(crate) const fn gid(self) -> Gid {
        self.0
    }
}

impl TryFrom<String> for GroupName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if let Ok(number) = name.parse() {
            return Ok(Self(Gid::from_raw(number)));
        }
        match Group::from_name(&name) {
            Ok(Some(group)) => Ok(Self(group.gid)),
            Ok(None) => Err(format!("there is no group `{name}`; add it, or give its number in quotes")),
            Err(error) => Err(format!("the group `{name}` cannot be looked up: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GroupName, Mode};

    #[test]
    fn permissions_are_octal_digits() {
        let mode = |text: &str| Mode::try_from(text.to_owned()).map(Mode::bits);
        assert_eq!((mode("0660"), mode("777"), mode("200")), (Ok(0o660), Ok(0o777), Ok(0o200)));
        for bad in ["", "60", "0670x", "888", "01777", "0440", "-660", "rw-rw----"] {
            assert!(mode(bad).unwrap_err().contains("\"0660\""), "{bad}");
        }
    }

    #[test]
    fn groups_have_names_or_numbers() {
        let gid = |text: &str| GroupName::try_from(text.to_owned()).map(|group| group.gid().as_raw());
        assert_eq!((gid("root"), gid("1234")), (Ok(0), Ok(1234)));
        assert!(gid("no-such-group-here").unwrap_err().contains("no-such-group-here"));
    }
}
