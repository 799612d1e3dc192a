//! The header between forwarder and agent on pkt0 (control.md 6.2).

use vr_types::{Trap, VifId, VrfId};

use crate::Error;

/// Bytes of the header of the current release.
pub const LEN: usize = 30;

/// Commands of the agent; every other value of the field is the reason of a trap.
pub mod command {
    /// Send the frame on the interface as it is.
    pub const SWITCH: u16 = 0;
    /// Forward the frame as if it came from the interface.
    pub const ROUTE: u16 = 1;
}

/// Releases differ in the length of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 30 bytes.
    Current,
    /// 26 bytes, without the last parameter.
    R220,
}

impl Form {
    /// Bytes of the header.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Current => LEN,
            Self::R220 => 26,
        }
    }

    /// A header is never empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// The fields of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentHeader {
    /// Interface that the packet came from or is for.
    pub vif: VifId,
    /// VRF of the packet.
    pub vrf: VrfId,
    /// See [`command`], or the number of a [`TrapReason`](vr_types::TrapReason).
    pub command: u16,
    /// `cmd_param` to `cmd_param_4`. The agent leaves all but the first two undefined.
    pub params: [u32; 5],
    /// `cmd_param_5`; zero in the old form.
    pub param5: u8,
}

impl AgentHeader {
    /// The header of a trap.
    #[must_use]
    pub const fn for_trap(vif: VifId, vrf: VrfId, trap: &Trap) -> Self {
        Self { vif, vrf, command: trap.reason as u16, params: trap.params, param5: trap.param5 }
    }

    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(bytes: &[u8], form: Form) -> Result<Self, Error> {
        let mut header = [0; LEN];
        let given = bytes.get(..form.len()).ok_or(Error::Truncated)?;
        header[..given.len()].copy_from_slice(given);
        let [v0, v1, f0, f1, c0, c1, params @ .., param5, _, _, _] = header;
        let (words, _): (&[[u8; 4]], _) = params.as_chunks();
        let mut params = [0; 5];
        for (param, word) in params.iter_mut().zip(words) {
            *param = u32::from_be_bytes(*word);
        }
        Ok(Self {
            vif: VifId(u16::from_be_bytes([v0, v1])),
            vrf: VrfId(u16::from_be_bytes([f0, f1])),
            command: u16::from_be_bytes([c0, c1]),
            params,
            param5,
        })
    }

    /// The header in the current form; the old one is its first 26 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&self.vif.0.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.vrf.0.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.command.to_be_bytes());
        for (place, param) in bytes[6..26].as_chunks_mut().0.iter_mut().zip(self.params) {
            *place = param.to_be_bytes();
        }
        bytes[26] = self.param5;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use vr_types::{Trap, TrapReason, VifId, VrfId};

    use super::{AgentHeader, Form, LEN, command};
    use crate::Error;

    /// forwarding.md 14.4.
    const FLOW_MISS: [u8; LEN] = [
        0x00, 0x03, 0x00, 0x02, 0x00, 0x06, 0x00, 0x00, 0xff, 0x60, 0x00, 0x00, 0x00, 0x17, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0,
    ];

    #[test]
    fn flow_miss_of_the_specification() {
        let trap = Trap { reason: TrapReason::FlowMiss, params: [65376, 23, 0, 0, 0], param5: 1 };
        let header = AgentHeader::for_trap(VifId(3), VrfId(2), &trap);
        assert_eq!(header.to_bytes(), FLOW_MISS);
        assert_eq!(AgentHeader::parse(&FLOW_MISS, Form::Current), Ok(header));
        let old = AgentHeader { param5: 0, ..header };
        assert_eq!(AgentHeader::parse(&FLOW_MISS, Form::R220), Ok(old));
    }

    #[test]
    fn every_parameter_has_its_place() {
        let header = AgentHeader {
            vif: VifId(0x0102),
            vrf: VrfId(0x0304),
            command: command::ROUTE,
            params: [1, 2, 3, 4, 0x0506_0708],
            param5: 9,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes[..10], [1, 2, 3, 4, 0, 1, 0, 0, 0, 1]);
        assert_eq!(bytes[18..], [0, 0, 0, 4, 5, 6, 7, 8, 9, 0, 0, 0]);
        assert_eq!(AgentHeader::parse(&bytes, Form::Current), Ok(header));
    }

    #[test]
    fn short_headers_are_refused() {
        for form in [Form::Current, Form::R220] {
            assert_eq!(AgentHeader::parse(&FLOW_MISS[..form.len() - 1], form), Err(Error::Truncated));
            assert!(AgentHeader::parse(&FLOW_MISS[..form.len()], form).is_ok());
        }
    }
}
