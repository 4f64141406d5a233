//! A network that fails on command: a TCP proxy in front of a broker, a database, a key-value server or
//! a provider, which can be slow, swallow what it is given, let through one direction only, or be away.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::tasks::Tasks;

/// How many bytes are carried at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// How often it is tried to listen again after [`Flow::Away`].
const LISTEN_AGAIN: Duration = Duration::from_millis(10);

/// How a network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Everything gets through.
    Pass,
    /// Everything gets through, late and slowly.
    Slow {
        /// How much later each chunk of at most 16 KiB arrives.
        latency: Duration,
        /// And how many bytes a second after that; at least 1.
        bytes_per_second: u32,
    },
    /// Connections stand and can be made, and nothing gets through in either direction.
    Swallow,
    /// What the client says gets through, the answers do not.
    ToServer,
    /// What the server says gets through, and the client is not heard.
    ToClient,
    /// All connections are reset now, and new ones are refused.
    Away,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Flow {
    fn lets_through(self, way: Way) -> bool {
        match self {
            Self::Pass | Self::Slow { .. } => true,
            Self::Swallow | Self::Away => false,
            Self::ToServer => way == Way::ToServer,
            Self::ToClient => way == Way::ToClient,
        }
    }

    /// How long a chunk of so many bytes takes.
    fn delay(self, bytes: usize) -> Duration {
        match self {
            Self::Slow { latency, bytes_per_second } => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                latency + Duration::from_secs(1) * bytes / bytes_per_second.max(1)
            }
            _ => Duration::ZERO,
        }
    }
}

/// A proxy on a port of its own of this machine. Dropping it resets its connections.
pub struct Proxy {
    address: SocketAddr,
    flow: watch::Sender<Flow>,
    /// What the listener acts on by now.
    heard: watch::Receiver<Flow>,
    tasks: Tasks,
}

impl Proxy {
    /// A proxy in front of `server`, such as `127.0.0.1:5672`; everything gets through.
    pub async fn before(server: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (flow, told) = watch::channel(Flow::Pass);
        let (acts, heard) = watch::channel(Flow::Pass);
        let tasks = Tasks::new();
        let (server, own) = (server.into(), tasks.clone());
        let stop = tasks.stop_sign();
        tasks.spawn("proxy", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listen(listener, server, told, acts, own) => {}
            }
        });
        Ok(Self { address, flow, heard, tasks })
    }

    /// Where to connect instead of to the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how the network behaves, for connections that stand as well as for new ones. A connection
    /// that has lost bytes is reset as soon as that direction lets through again: no network leaves out
    /// the middle of a stream.
    pub async fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
        let mut heard = self.heard.clone();
        // The proxy ends only with this value, so the wait cannot fail.
        let _ended = heard.wait_for(|heard| *heard == flow).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.stop_sign().cancel();
    }
}

async fn listen(
    mut listener: TcpListener,
    server: String,
    mut flow: watch::Receiver<Flow>,
    acts: watch::Sender<Flow>,
    tasks: Tasks,
) {
    let Ok(address) = listener.local_addr() else { return };
    loop {
        let now = *flow.borrow_and_update();
        if now == Flow::Away {
            drop(listener);
            acts.send_replace(now);
            if flow.wait_for(|flow| *flow != Flow::Away).await.is_err() {
                return;
            }
            listener = listen_again(address).await;
            continue;
        }
        acts.send_replace(now);
        tokio::select! {
            changed = flow.changed() => if changed.is_err() { return },
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (server, flow, stop) = (server.clone(), flow.clone(), tasks.stop_sign());
                tasks.spawn("proxied", async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection(client, &server, flow) => {}
                    }
                });
            }
        }
    }
}

/// The port was this proxy's and will be again: nobody is given it who asks for any free one at once.
async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
        }
    }
}

async fn connection(mut client: TcpStream, server: &str, mut flow: watch::Receiver<Flow>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return reset(&client) };
    // Small answers must not wait for more; a socket that cannot be told so is only slower.
    let _slower = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let lost = [AtomicBool::new(false), AtomicBool::new(false)];
    let [lost_to_server, lost_to_client] = &lost;
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = carry(from_client, to_server, Way::ToServer, flow.clone(), lost_to_server);
        let back = carry(from_server, to_client, Way::ToClient, flow.clone(), lost_to_client);
        let broken = flow.wait_for(|flow| {
            let torn = |lost: &AtomicBool, way| lost.load(Ordering::SeqCst) && flow.lets_through(way);
            *flow == Flow::Away || torn(lost_to_server, Way::ToServer) || torn(lost_to_client, Way::ToClient)
        });
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.is_ok(),
            _broken = broken => false,
        }
    };
    if !ended {
        reset(&client);
        reset(&server);
    }
}

/// Closing it sends a reset, and what is still under way is thrown away.
fn reset(stream: &TcpStream) {
    // A connection that is gone already cannot be told, and need not be.
    let _gone = stream.set_zero_linger();
}

async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    flow: watch::Receiver<Flow>,
    lost: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        let now = *flow.borrow();
        if length == 0 {
            return if now.lets_through(way) { to.shutdown().await } else { std::future::pending().await };
        }
        if !now.lets_through(way) {
            lost.store(true, Ordering::SeqCst);
            continue;
        }
        if lost.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let delay = now.delay(length);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        to.write_all(chunk.get(..length).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the server of the trial and the time that it takes")]
mod tests {
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    /// Nothing that is awaited to stay away comes later than this.
    const A_MOMENT: Duration = Duration::from_millis(100);

    /// A server that says everything back.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn said_back(stream: &mut TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
        let mut back = vec![0; words.len()];
        tokio::time::timeout(SOON, async {
            stream.write_all(words).await?;
            stream.read_exact(&mut back).await
        })
        .await??;
        Ok(back)
    }

    async fn hears_nothing(stream: &mut TcpStream) -> bool {
        let mut byte = [0; 1];
        tokio::time::timeout(A_MOMENT, stream.read_exact(&mut byte)).await.is_err()
    }

    #[tokio::test]
    async fn what_passes_is_unchanged_and_an_end_is_an_end() {
        let proxy = Proxy::before(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let words: Vec<u8> = (0..=255).cycle().take(3 * CHUNK_BYTES + 7).collect();
        let mut back = vec![0; words.len()];
        let (mut from, mut to) = stream.split();
        let (wrote, read) = tokio::join!(
            async {
                to.write_all(&words).await?;
                to.shutdown().await
            },
            tokio::time::timeout(SOON, from.read_exact(&mut back))
        );
        wrote.unwrap();
        read.unwrap().unwrap();
        assert_eq!(back, words);
        assert_eq!(tokio::time::timeout(SOON, from.read(&mut back)).await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn slow_is_late() {
        let proxy = Proxy::before(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        said_back(&mut stream, b"quick").await.unwrap();
        proxy.set(Flow::Slow { latency: Duration::from_millis(50), bytes_per_second: 100 }).await;
        let began = Instant::now();
        assert_eq!(said_back(&mut stream, b"ten bytes.").await.unwrap(), b"ten bytes.");
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_was_swallowed_is_lost_and_its_connection_with_it() {
        for flow in [Flow::Swallow, Flow::ToServer, Flow::ToClient] {
            let proxy = Proxy::before(echo().await).await.unwrap();
            let mut old = TcpStream::connect(proxy.address()).await.unwrap();
            said_back(&mut old, b"well").await.unwrap();
            proxy.set(flow).await;
            let mut new = TcpStream::connect(proxy.address()).await.unwrap();
            for stream in [&mut old, &mut new] {
                stream.write_all(b"anybody there?").await.unwrap();
                assert!(hears_nothing(stream).await, "{flow:?}");
            }
            proxy.set(Flow::Pass).await;
            for stream in [&mut old, &mut new] {
                assert!(said_back(stream, b"again").await.is_err(), "{flow:?}");
            }
            let mut newer = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(said_back(&mut newer, b"well").await.unwrap(), b"well");
        }
    }

    #[tokio::test]
    async fn away_resets_and_refuses_until_it_is_back_on_the_same_port() {
        let proxy = Proxy::before(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        said_back(&mut stream, b"well").await.unwrap();
        proxy.set(Flow::Away).await;
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(said_back(&mut stream, b"?").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        proxy.set(Flow::Pass).await;
        let mut stream = tokio::time::timeout(SOON, async {
            loop {
                if let Ok(stream) = TcpStream::connect(proxy.address()).await {
                    return stream;
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(said_back(&mut stream, b"back").await.unwrap(), b"back");
    }
}
