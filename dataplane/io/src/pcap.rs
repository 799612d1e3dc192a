use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, PcapError};
use vr_frame::{Batch, FramePool, Packet};

use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortError, PortKind};

/// Plays a capture as received frames, as fast as they are asked for, and writes transmitted frames to another.
///
/// Frames that the capture holds only in part are dropped and counted; a damaged file ends where the damage is,
/// which counts as an error.
pub struct PcapPort {
    input: Option<PcapReader<Counted>>,
    output: Option<PcapWriter<BufWriter<Counted>>>,
    counters: Arc<PortCounters>,
}

/// Longest frame in files that we write.
const SNAPLEN: u32 = 1 << 18;

impl PcapPort {
    /// Plays `input`, if there is one, and writes `output`, if there shall be one; what is transmitted without
    /// an output is dropped as sent. An existing output is replaced.
    ///
    /// # Errors
    /// [`PortError::File`] and [`PortError::NotPcap`].
    pub fn open(input: Option<&Path>, output: Option<&Path>) -> Result<Self, PortError> {
        let counters = Arc::default();
        Ok(Self {
            input: input.map(|path| reader(path, &counters)).transpose()?,
            output: output.map(|path| writer(path, &counters)).transpose()?,
            counters,
        })
    }

    /// Whether everything has been received.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.input.is_none()
    }

    /// The next frame that is whole.
    fn next(&mut self, pool: &mut FramePool) -> Option<Packet> {
        let cells = self.counters.cells();
        loop {
            let record = match self.input.as_mut()?.next_packet() {
                Some(Ok(record)) => record,
                other => {
                    cells.rx_errors.add(u64::from(other.is_some()));
                    self.input = None;
                    return None;
                }
            };
            if (record.data.len() as u64) < u64::from(record.orig_len) {
                cells.rx_too_long.add(1);
            } else if record.data.len() < ETHERNET_HEADER {
                cells.rx_malformed.add(1);
            } else if record.data.len() > Capabilities::everything().longest_frame {
                cells.rx_too_long.add(1);
            } else if let Some(frame) = pool.copy_of(&record.data) {
                return Some(Packet::plain(frame));
            } else {
                cells.rx_no_buffer.add(1);
            }
        }
    }

    fn write(&mut self, packet: &Packet, now: Duration) {
        let bytes = packet.frame.bytes();
        let record = PcapPacket::new(now, bytes.len() as u32, bytes);
        match self.output.as_mut().map(|output| output.write_packet(&record)) {
            None | Some(Ok(_)) => self.counters.sent(1, bytes.len() as u64),
            Some(Err(_)) => self.counters.cells().tx_errors.add(1),
        }
    }
}

/// A file whose system calls are counted.
struct Counted {
    file: File,
    counters: Arc<PortCounters>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.counters.cells().rx_syscalls.add(1);
        self.file.read(bytes)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.counters.cells().tx_syscalls.add(1);
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn reader(path: &Path, counters: &Arc<PortCounters>) -> Result<PcapReader<Counted>, PortError> {
    let file = File::open(path).map_err(|source| PortError::File { path: path.to_owned(), source })?;
    let not_pcap = |reason: String| PortError::NotPcap { path: path.to_owned(), reason };
    let reader = PcapReader::new(Counted { file, counters: Arc::clone(counters) })
        .map_err(|error| not_pcap(error.to_string()))?;
    let link = reader.header().datalink;
    if link != DataLink::ETHERNET {
        return Err(not_pcap(format!("its frames are {link:?}, not Ethernet")));
    }
    Ok(reader)
}

fn writer(path: &Path, counters: &Arc<PortCounters>) -> Result<PcapWriter<BufWriter<Counted>>, PortError> {
    let fail = |source| PortError::File { path: path.to_owned(), source };
    let header = PcapHeader { snaplen: SNAPLEN, ..PcapHeader::default() };
    let file = File::create(path).map_err(fail)?;
    let file = Counted { file, counters: Arc::clone(counters) };
    PcapWriter::with_header(BufWriter::new(file), header).map_err(|error| match error {
        PcapError::IoError(source) => fail(source),
        other => fail(std::io::Error::other(other)),
    })
}

impl Port for PcapPort {
    fn kind(&self) -> PortKind {
        PortKind::Pcap
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        // A dry pool leaves the frames in the file.
        while !batch.is_full() && pool.available() > 0 {
            let Some(packet) = self.next(pool) else { break };
            self.counters.received(1, packet.frame.len() as u64);
            if let Err(packet) = batch.push(packet) {
                pool.free(packet.frame);
            }
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for packet in batch.drain() {
            match self.capabilities().check(&packet.frame, &packet.offload) {
                Ok(()) => self.write(&packet, now),
                Err(unfit) => self.counters.unfit(unfit),
            }
            pool.free(packet.frame);
        }
    }

    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::everything()
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    /// Writes what is left of the output.
    fn close(self: Box<Self>, _: &mut FramePool) {
        if let Some(output) = self.output
            && output.into_writer().flush().is_err()
        {
            self.counters.cells().tx_errors.add(1);
        }
    }
}
