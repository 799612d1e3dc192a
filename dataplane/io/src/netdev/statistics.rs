//! What a device has counted.

use crate::PortError;

/// Counters of a device since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames that came damaged.
    pub rx_errors: u64,
    /// Frames for which the device or the kernel had no room.
    pub rx_no_room: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that were not sent.
    pub tx_errors: u64,
}

/// Reads them from `/proc/net/dev`.
///
/// # Errors
/// [`PortError`] when there is no such device, or no `/proc`.
pub fn statistics(name: &str) -> Result<Statistics, PortError> {
    let doing = "reading the counters of";
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")
        .map_err(|error| PortError::device(name, doing, error))?;
    parse(&text, name).ok_or_else(|| PortError::NoSuchInterface(name.to_owned()))
}

fn parse(text: &str, name: &str) -> Option<Statistics> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let mut columns = line.split_whitespace().map(|column| column.parse::<u64>().ok());
    let mut next = || columns.next().flatten();
    // Received: bytes packets errs drop fifo frame compressed multicast; sent: the same with other words.
    let [rx_bytes, rx_packets, rx_errors, dropped, fifo, ..] = [(); 8].map(|()| next());
    let [tx_bytes, tx_packets, tx_failed, tx_dropped] = [(); 4].map(|()| next());
    Some(Statistics {
        rx_bytes: rx_bytes?,
        rx_packets: rx_packets?,
        rx_errors: rx_errors?,
        rx_no_room: dropped?.wrapping_add(fifo?),
        tx_bytes: tx_bytes?,
        tx_packets: tx_packets?,
        tx_errors: tx_failed?.wrapping_add(tx_dropped?),
    })
}

#[cfg(test)]
mod tests {
    use super::{Statistics, parse};

    const TEXT: &str = "Inter-|   Receive\n face |bytes\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n  eth0: 10 2 3 4 5 6 7 8 90 10 11 12 13 14 15 16\n eth01:1 1\n";

    #[test]
    fn the_line_of_the_device_counts() {
        let of = |name| parse(TEXT, name);
        assert_eq!(of("lo"), Some(Statistics::default()));
        let eth0 = Statistics {
            rx_bytes: 10,
            rx_packets: 2,
            rx_errors: 3,
            rx_no_room: 9,
            tx_bytes: 90,
            tx_packets: 10,
            tx_errors: 23,
        };
        assert_eq!(of("eth0"), Some(eth0));
        assert_eq!((of("eth"), of("eth01"), of("none")), (None, None, None));
    }
}
