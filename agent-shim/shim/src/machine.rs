/// What the forwarder is made of, as `dpdkinfo` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Forwarding workers.
    pub workers: usize,
    /// Their ports, one entry for each queue, in the order in which they were opened.
    pub ports: Vec<MachinePort>,
    /// Packet buffers of all workers.
    pub buffers: u64,
    /// Those of them that are free.
    pub free_buffers: u64,
}

/// One queue of a port. Counters start with the port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachinePort {
    /// The interface that it belongs to.
    pub vif: u16,
    /// Name of the interface.
    pub name: String,
    /// The worker that polls it.
    pub worker: usize,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Frames lost on their way in.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Frames lost on their way out.
    pub tx_dropped: u64,
}

/// Tells how it is now.
pub type MachineSource = Box<dyn Fn() -> Machine + Send>;
