use vr_types::{FlowIndex, Mac, VifId};

use crate::stats::Cores;
use crate::vif::Vif;

/// Why no port could be attached to a new interface; the control protocol answers with an errno.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no device of that name.
    #[error("there is no network device {0}")]
    NoDevice(String),
    /// Interfaces of this kind or transport have no port.
    #[error("no port fits an interface of this type and transport")]
    Unsupported,
    /// Buffers or descriptors ran out.
    #[error("not enough memory for the port: {0}")]
    NoMemory(String),
    /// The system refused.
    #[error("{0}")]
    Refused(String),
}

/// What the device of a new interface says about itself, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// MTU with Ethernet header; that of an interface whose request names none.
    pub mtu: Option<u32>,
    /// Address; that of an interface whose request names none (control.md 7.4).
    pub mac: Option<Mac>,
}

/// What has become of the device of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceChange {
    /// The interface.
    pub vif: VifId,
    /// MTU with Ethernet header before.
    pub mtu_before: u32,
    /// The same now.
    pub mtu: u32,
    /// Whether it sends and receives.
    pub up: bool,
}

/// What the network device of an interface has counted, since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceTotals {
    /// Bytes received.
    pub in_bytes: u64,
    /// Packets received.
    pub in_packets: u64,
    /// Packets that could not be received.
    pub in_errors: u64,
    /// Of these, those for which there was no room.
    pub in_no_buffers: u64,
    /// Bytes sent.
    pub out_bytes: u64,
    /// Packets sent.
    pub out_packets: u64,
    /// Packets that could not be sent.
    pub out_errors: u64,
}

/// What the ports of one interface have counted: losses at the device, which no stage of the pipeline sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortTotals {
    /// Packets received.
    pub in_packets: u64,
    /// Packets lost on their way in, for whatever reason.
    pub in_errors: u64,
    /// Of these, those for which no buffer was free.
    pub in_no_buffers: u64,
    /// System calls made to receive.
    pub in_syscalls: u64,
    /// Packets sent.
    pub out_packets: u64,
    /// Packets lost on their way out.
    pub out_errors: u64,
    /// System calls made to send.
    pub out_syscalls: u64,
}

impl PortTotals {
    fn each(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            in_packets: join(self.in_packets, other.in_packets),
            in_errors: join(self.in_errors, other.in_errors),
            in_no_buffers: join(self.in_no_buffers, other.in_no_buffers),
            in_syscalls: join(self.in_syscalls, other.in_syscalls),
            out_packets: join(self.out_packets, other.out_packets),
            out_errors: join(self.out_errors, other.out_errors),
            out_syscalls: join(self.out_syscalls, other.out_syscalls),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.each(before, u64::wrapping_sub)
    }
}

/// What the control thread asks of the side that moves packets. Implemented by the daemon over its workers,
/// and by tests in process.
pub trait Datapath {
    /// Opens the port of a new interface and hands it to a worker. Called before the interface is published.
    /// Returns what the device says about itself.
    ///
    /// # Errors
    /// [`AttachError`]; the interface is then not added.
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError>;

    /// What [`Datapath::attach`] will say of a new interface, as far as that is known without opening its port: that is
    /// opened later.
    ///
    /// # Errors
    /// [`AttachError`]; the interface is then not added.
    fn probe(&mut self, _vif: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    /// Whether the network device that the port of an interface was opened on is gone. Another one may have its name,
    /// which that port knows nothing of.
    fn has_lost_device(&self, _vif: VifId) -> bool {
        false
    }

    /// Ports of interfaces get other numbers, old and new, when `publish` makes the tables that know these visible: no
    /// packet of such a port meets the other tables.
    fn renumber(&mut self, _moves: &[(VifId, VifId)], publish: &mut dyn FnMut()) {
        publish();
    }

    /// What the network device of an interface of the fabric has counted.
    fn device_totals(&self, _vif: VifId) -> DeviceTotals {
        DeviceTotals::default()
    }

    /// An interface that has a port was changed. Called before the change is published.
    fn changed(&mut self, _vif: &Vif) {}

    /// Closes the port of an interface that was removed. Called after the removal was published.
    fn detach(&mut self, vif: VifId);

    /// What the ports of an interface that these workers poll have counted since the interface was added, or since
    /// the counters were cleared.
    fn port_totals(&self, _vif: VifId, _cores: Cores) -> PortTotals {
        PortTotals::default()
    }

    /// Starts these counters at zero again.
    fn clear_port_totals(&mut self, _vif: VifId, _cores: Cores) {}

    /// An entry was set or removed: packets held for it are to be looked at again, not later than at the next
    /// [`Datapath::go_on`].
    fn flow_changed(&mut self, flow: FlowIndex);

    /// The commands that came together are executed and published.
    fn go_on(&mut self) {}

    /// Waits until every worker works with what was published last, or is asleep.
    fn settle(&mut self);
}
