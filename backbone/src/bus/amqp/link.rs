//! One connection to the broker, and the end of it: the socket is dropped, never closed politely,
//! because a polite close brings items back behind newer ones (M9, M10).

use std::io;
use std::net::{Shutdown, TcpStream as StdStream};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, Stream, StreamExt as _};
use lapin::tcp::OwnedTLSConfig;
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind, Event};

use super::address::Address;
use super::version;
use crate::bus::BusError;

/// How long a connection and its handshake may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long opening a channel may take.
const CHANNEL_DEADLINE: Duration = Duration::from_secs(5);
/// What the broker answers to a wrong password, and to a vhost that is not there.
const NOT_LET_IN: [u16; 3] = [402, 403, 530];

/// A connection. Dropping it drops the socket.
pub(super) struct Link {
    connection: Connection,
    socket: Socket,
}

/// What happens to a connection, until it is lost.
pub(super) struct Fate {
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

/// A second handle on the socket, which can cut it below the AMQP client and below TLS.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<StdStream>>>);

impl Socket {
    fn hold(&self, stream: StdStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    fn cut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be gone already, and then there is nothing to do.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Cuts the socket of a connection that was not finished.
struct CutOnDrop(Option<Socket>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            socket.cut();
        }
    }
}

impl Link {
    /// Connects. `name` is what an operator sees in the broker's list of connections.
    pub(super) async fn connect(address: &Address, name: &str) -> Result<(Self, Fate), BusError> {
        let socket = Socket::default();
        let mut guard = CutOnDrop(Some(socket.clone()));
        let connected = tokio::time::timeout(CONNECT_DEADLINE, open(address, name, socket.clone())).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(sorted(address, &error)),
            Err(_) => {
                let seconds = CONNECT_DEADLINE.as_secs();
                return Err(BusError::Unavailable(format!("{address} did not answer within {seconds} s")));
            }
        };
        guard.0 = None;
        let events = Box::pin(connection.events_listener());
        Ok((Self { connection, socket }, Fate { events }))
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> Result<Channel, BusError> {
        match tokio::time::timeout(CHANNEL_DEADLINE, self.connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(BusError::Unavailable("the broker opens no channel".to_owned())),
        }
    }

    /// The broker takes no publishes at the moment: its memory or disk is short.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends the connection below AMQP, as the end of the process would.
    pub(super) fn cut(&self) {
        self.socket.cut();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Fate {
    /// Waits until the connection or one of its channels is lost; says why.
    pub(super) async fn lost(&mut self) -> String {
        while let Some(event) = self.events.next().await {
            match event {
                Event::Error(error) => return error.to_string(),
                Event::ConnectionBlocked(reason) => {
                    metrics::counter!("loket_bus_blocked_total").increment(1);
                    tracing::warn!(reason, "the broker takes no publishes");
                }
                Event::ConnectionUnblocked => tracing::info!("the broker takes publishes again"),
                _ => {}
            }
        }
        "the connection is gone".to_owned()
    }
}

/// An error of the client, when it does not matter which.
pub(super) fn lost(error: &lapin::Error) -> BusError {
    BusError::Unavailable(format!("the connection to the broker is lost: {error}"))
}

fn sorted(address: &Address, error: &lapin::Error) -> BusError {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) if NOT_LET_IN.contains(&refusal.get_id()) => {
            let user = &address.uri.authority.userinfo.username;
            BusError::Refused(format!(
                "{address} does not let the user {user:?} of bus.url in. It says: {}",
                refusal.get_message()
            ))
        }
        _ => BusError::Unavailable(format!("{address} cannot be reached: {error}")),
    }
}

async fn open(address: &Address, name: &str, socket: Socket) -> Result<Connection, lapin::Error> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let tls = OwnedTLSConfig { identity: None, cert_chain: address.authorities.clone() };
    let (uri, runtime) = (address.uri.clone(), lapin::runtime::default_runtime()?);
    let is_encrypted = address.is_encrypted();
    Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let (host, port) = (uri.authority.host, uri.authority.port);
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
            let stream = AsyncTcpStream::connect(&runtime, found).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                let second = StdStream::from(plain.get_ref().as_fd().try_clone_to_owned()?);
                second.set_nodelay(true)?;
                socket.hold(second);
            }
            if !is_encrypted {
                return Ok(stream);
            }
            Ok(stream.into_tls(&host, tls.as_ref()).await?)
        },
        properties,
    )
    .await
}

/// Asks the broker who it is, on a connection of its own: the client keeps that to itself.
pub(super) async fn check_version(address: &Address) -> Result<(), BusError> {
    let unreachable =
        |error: io::Error| BusError::Unavailable(format!("{address} cannot be reached: {error}"));
    let greeted = tokio::time::timeout(CONNECT_DEADLINE, greet(address)).await;
    let greeting = greeted.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
    version::check(&greeting).map_err(|sentence| BusError::Refused(format!("{address}: {sentence}")))
}

/// The largest greeting that is read.
const GREETING_BYTES_MAX: u32 = 64 * 1024;

/// The payload of the first frame, which is `connection.start`.
async fn greet(address: &Address) -> io::Result<Vec<u8>> {
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let (host, port) = (address.uri.authority.host.as_str(), address.uri.authority.port);
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut stream = AsyncTcpStream::connect(&runtime, found).await?;
    if address.is_encrypted() {
        let tls = OwnedTLSConfig { identity: None, cert_chain: address.authorities.clone() };
        stream = stream.into_tls(host, tls.as_ref()).await?;
    }
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    stream.flush().await?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let [kind, _, _, size @ ..] = head;
    let size = u32::from_be_bytes(size);
    if kind != 1 || size > GREETING_BYTES_MAX {
        return Err(io::Error::other("it does not speak AMQP 0-9-1"));
    }
    let mut payload = vec![0; usize::try_from(size).unwrap_or_default()];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}
