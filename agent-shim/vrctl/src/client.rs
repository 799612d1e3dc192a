//! The client side of the control socket: requests and what is answered (control.md 2).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sandesh::constants::response::VR_MESSAGE_DUMP_INCOMPLETE;
use sandesh::messages::Message;
use sandesh::netlink::{FrameReader, HEADER_LEN, Header, write_request};
use sandesh::{Compat, Record, decode, r220};

use crate::failure::Failure;

/// Name of the socket in its directory.
pub(crate) const SOCKET: &str = "dpdk_netlink";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the vrouter. Requests and objects are those of the current release, whatever the vrouter speaks.
pub(crate) struct Client {
    stream: Stream,
    compat: Compat,
    reader: FrameReader,
    message_type: u16,
    seq: u32,
    last_len: usize,
}

/// One reply: its code, and the objects.
struct Reply {
    code: i32,
    objects: Vec<Message>,
}

impl Client {
    /// Connects to the vrouter with the socket directory `directory`. `message_type` is what requests carry; the
    /// server echoes it.
    pub(crate) fn connect(directory: &Path, message_type: u16) -> anyhow::Result<Self> {
        let path = directory.join(SOCKET);
        let unix = UnixStream::connect(&path)
            .with_context(|| format!("cannot connect to {}; is vrouterd running?", path.display()));
        let (stream, compat) = match unix {
            Ok(stream) => (Stream::Unix(stream), Compat::Current),
            Err(error) => match old_port(directory) {
                Some(port) => (Stream::Tcp(connect_tcp(port)?), Compat::R220),
                None => return Err(error),
            },
        };
        stream.set_patience().context("cannot set a timeout")?;
        Ok(Self { stream, compat, reader: FrameReader::new(), message_type, seq: 0, last_len: 0 })
    }

    /// Whether the vrouter speaks the language of R2.20.
    pub(crate) fn is_r220(&self) -> bool {
        self.compat == Compat::R220
    }

    /// Sends a request; returns the objects of the reply.
    pub(crate) fn request(&mut self, request: &dyn Record) -> Result<Vec<Message>, Failure> {
        let reply = self.exchange(request)?;
        if reply.code < 0 { Err(Failure::Refused(-reply.code)) } else { Ok(reply.objects) }
    }

    /// As [`request`](Self::request), of which one object of type `T` is expected.
    pub(crate) fn object<T: TryFrom<Message>>(&mut self, request: &dyn Record) -> Result<T, Failure> {
        let object = self.request(request)?.into_iter().find_map(|object| T::try_from(object).ok());
        object.ok_or_else(|| anyhow!("the reply holds no object").into())
    }

    /// Sends a dump request until everything is there; `advance` writes the key of the last object into the
    /// request as marker (control.md 2.6).
    pub(crate) fn dump<R: Record>(
        &mut self,
        mut request: R,
        advance: impl Fn(&mut R, &Message),
    ) -> Result<Vec<Message>, Failure> {
        let mut objects = Vec::new();
        loop {
            let reply = self.exchange(&request)?;
            if reply.code < 0 {
                return Err(Failure::Refused(-reply.code));
            }
            let last = reply.objects.last();
            if let Some(last) = last {
                advance(&mut request, last);
            }
            let more = reply.code & VR_MESSAGE_DUMP_INCOMPLETE != 0 && last.is_some();
            objects.extend(reply.objects);
            if !more {
                return Ok(objects);
            }
        }
    }

    /// Bytes of the last netlink message that was received.
    pub(crate) fn last_len(&self) -> usize {
        self.last_len
    }

    fn exchange(&mut self, request: &dyn Record) -> anyhow::Result<Reply> {
        if !request.kind().exists_in(self.compat) {
            bail!("a vrouter of R2.20 does not know `{}`", request.kind().name());
        }
        let header = Header { message_type: self.message_type, ..Header::request(self.seq) };
        self.seq = self.seq.wrapping_add(1);
        let mut message = request.to_message();
        if self.is_r220() {
            r220::to_r220(&mut message);
        }
        let mut bytes = Vec::new();
        write_request(&header, self.compat, &[message.as_record()], &mut bytes);
        self.stream.write_all(&bytes).context("cannot send the request")?;
        self.reply()
    }

    fn reply(&mut self) -> anyhow::Result<Reply> {
        let mut code = None;
        let mut objects = Vec::new();
        loop {
            let Some(frame) = self.reader.next_frame()? else {
                match self.reader.read_from(&mut self.stream).context("no answer")? {
                    0 => bail!("the vrouter has closed the connection"),
                    _ => continue,
                }
            };
            self.last_len = HEADER_LEN + frame.payload.len();
            for message in decode(frame.payload, self.compat) {
                match message.context("the reply cannot be read")? {
                    Message::Response(response) if code.is_none() => code = Some(response.resp_code),
                    mut object => {
                        if self.compat == Compat::R220 {
                            r220::to_current(&mut object);
                        }
                        objects.push(object);
                    }
                }
            }
            if !frame.header.is_multi() {
                let code = code.context("the reply has no response")?;
                return Ok(Reply { code, objects });
            }
        }
    }
}

/// The TCP port of a vrouter that serves R2.20 in place of the socket.
fn old_port(directory: &Path) -> Option<u16> {
    vr_observe::fetch(directory).ok()?.control_port
}

fn connect_tcp(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let stream = stream.with_context(|| format!("cannot connect to TCP port {port} of this host"))?;
    // Without it requests are only slower.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn set_patience(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(PATIENCE)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(PATIENCE)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
