//! The agent's side of the control socket.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use sandesh::netlink::FrameReader;
use sandesh::{Compat, Message, decode};

use super::objects::Requests;

pub(super) struct Client {
    stream: UnixStream,
}

impl Client {
    pub(super) fn connect(directory: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(directory.join("dpdk_netlink")).context("connecting")?;
        Ok(Self { stream })
    }

    /// Sends everything, and reads an answer for each object; all must be success.
    pub(super) fn program(&mut self, requests: &Requests) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let mut sender = self.stream.try_clone().context("a second descriptor")?;
            let sending = scope.spawn(move || sender.write_all(&requests.bytes));
            let answered = self.answers(requests.objects);
            if answered.is_err() {
                // The other half waits for the server.
                self.stream.shutdown(std::net::Shutdown::Both).context("giving up")?;
            }
            let sent = sending.join();
            answered?;
            sent.ok().context("the sender has failed")?.context("sending")
        })
    }

    fn answers(&mut self, mut outstanding: u32) -> anyhow::Result<()> {
        let mut frames = FrameReader::new();
        let mut stream = BufReader::with_capacity(1 << 16, &self.stream);
        while outstanding > 0 {
            ensure!(
                frames.read_from(&mut stream).context("reading")? > 0,
                "the server has closed the connection"
            );
            while let Some(frame) = frames.next_frame()? {
                match decode(frame.payload, Compat::Current).next() {
                    Some(Ok(Message::Response(response))) if response.resp_code == 0 => outstanding -= 1,
                    other => bail!("answer {:?} to message {}", other, frame.header.seq),
                }
            }
        }
        Ok(())
    }
}
