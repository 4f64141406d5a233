//! The one client for addresses that come from outside: webhooks, media links, bots' addresses, previews
//! (`outgoing-webhooks` §11). The rules are applied to the very address that is connected to, so that a
//! name that stands for something else a moment later gains nothing. It follows no redirect, keeps no
//! cookie, knows no proxy of the environment and carries no credential of ours.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::Limits;
use super::rules::{Refusal, Rules};
use crate::clock::Clock;

/// The most bytes of response headers.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// The most response headers.
const HEADERS_MAX: usize = 100;
/// How many addresses of a name are tried, within the time for connecting.
const ADDRESSES_MAX: usize = 4;
/// The most bytes of a proxy's answer.
const PROXY_ANSWER_BYTES_MAX: usize = 8 * 1024;

/// What the guarded client asks the network for; its own place, so that tests can put themselves there.
#[async_trait]
pub trait Network: Send + Sync {
    /// All addresses of a name.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
    /// A connection to this very address.
    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream>;
}

/// The machine's own resolver and network.
pub struct System;

#[async_trait]
impl Network for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// An address from outside whose form is allowed. Its name is looked up at each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// As it is kept and shown.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The name or address with the port, for `Host`.
    fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn path_and_query(&self) -> String {
        self.0.query().map_or_else(|| self.0.path().to_owned(), |query| format!("{}?{query}", self.0.path()))
    }
}

/// One request.
pub struct Call {
    /// `GET`, `POST` …
    pub method: Method,
    /// Headers beside `host` and `content-length`, which are set here.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent; empty for nothing.
    pub body: Bytes,
    /// How long it may take.
    pub limits: Limits,
}

/// How long the parts of a call took, in milliseconds; absent when it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking the name up.
    pub dns_ms: Option<i64>,
    /// Connecting.
    pub connect_ms: Option<i64>,
    /// Encrypting.
    pub tls_ms: Option<i64>,
    /// From there to the answer's headers.
    pub first_byte_ms: Option<i64>,
    /// From the start until now.
    pub total_ms: i64,
}

/// Why there is no answer, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It could not be connected to in time.
    TimeoutConnect,
    /// There was no whole answer in time.
    TimeoutTotal,
    /// The name could not be looked up.
    Dns,
    /// No encrypted connection, or a certificate that is not right.
    Tls,
    /// The address is not allowed.
    RefusedAddress,
    /// The connection was refused, broke, or what came over it was no HTTP.
    Connection,
}

impl Failure {
    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutTotal => "timeout_total",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::RefusedAddress => "refused_address",
            Self::Connection => "connection",
        }
    }
}

/// A failure, and how far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What went wrong.
    pub failure: Failure,
    /// How long it took.
    pub phases: Phases,
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Guarded {
    rules: Arc<Rules>,
    network: Arc<dyn Network>,
    tls: Arc<ClientConfig>,
    /// `host:port` of the operator's proxy, which then does what is done here about addresses.
    proxy: Option<String>,
    clock: Clock,
}

impl Guarded {
    /// A client with the operator's rules. `roots` are trusted beside the system's own certificates.
    pub fn new(
        rules: Rules,
        network: Arc<dyn Network>,
        roots: Vec<CertificateDer<'static>>,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { rules: Arc::new(rules), network, tls: Arc::new(tls), proxy: None, clock })
    }

    /// Sends everything through a proxy of the operator's (`host:port`), which must then itself refuse
    /// addresses of the inside.
    #[must_use]
    pub fn through(mut self, proxy: Option<String>) -> Self {
        self.proxy = proxy;
        self
    }

    /// Reads an address, or says why it is not allowed.
    pub fn address(&self, text: &str) -> Result<Address, Refusal> {
        self.rules.read(text).map(Address)
    }

    /// Looks the name up and says whether it may be connected to now. Kindness only: each call looks by
    /// itself. A name that cannot be looked up now may be all right later.
    pub async fn permits(&self, address: &Address, limit: Duration) -> Result<(), Refusal> {
        if self.proxy.is_some() {
            return Ok(());
        }
        match tokio::time::timeout(limit, self.resolved(address)).await {
            Ok(Err(Failure::RefusedAddress)) => Err(Refusal("address not allowed".to_owned())),
            _ => Ok(()),
        }
    }

    /// Makes a call. The answer's body is read from what is answered, within the same time.
    pub async fn send(&self, address: &Address, call: Call) -> Result<Answer, Failed> {
        let begun = self.clock.instant();
        let mut phases = Phases::default();
        let limits = call.limits;
        let connected = tokio::time::timeout(limits.connect, self.connect(address, &mut phases)).await;
        let failed = |failure, mut phases: Phases| {
            phases.total_ms = since(&self.clock, begun);
            Failed { failure, phases }
        };
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(failure)) => return Err(failed(failure, phases)),
            Err(_) => return Err(failed(Failure::TimeoutConnect, phases)),
        };
        let left = limits.total.saturating_sub(self.clock.instant().duration_since(begun));
        let asked = self.clock.instant();
        let exchanged = tokio::time::timeout(left, exchange(stream, address, call)).await;
        match exchanged {
            Ok(Ok((status, headers, body, driver))) => {
                phases.first_byte_ms = Some(since(&self.clock, asked));
                let clock = self.clock.clone();
                Ok(Answer {
                    status,
                    headers,
                    body,
                    driver: Some(driver),
                    begun,
                    limit: limits.total,
                    phases,
                    clock,
                })
            }
            Ok(Err(failure)) => Err(failed(failure, phases)),
            Err(_) => Err(failed(Failure::TimeoutTotal, phases)),
        }
    }

    /// The addresses of a name, all of which are allowed.
    async fn resolved(&self, address: &Address) -> Result<Vec<SocketAddr>, Failure> {
        let found = match address.0.host() {
            Some(Host::Domain(name)) => self.network.resolve(name).await.map_err(|_| Failure::Dns)?,
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            None => return Err(Failure::RefusedAddress),
        };
        if found.is_empty() {
            return Err(Failure::Dns);
        }
        if !found.iter().all(|ip| self.rules.allows(*ip)) {
            return Err(Failure::RefusedAddress);
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, address.port())).collect())
    }

    async fn connect(&self, address: &Address, phases: &mut Phases) -> Result<Box<dyn Stream>, Failure> {
        let begun = self.clock.instant();
        let stream = if let Some(proxy) = &self.proxy {
            let stream = self.tunnel(proxy, address).await?;
            phases.connect_ms = Some(since(&self.clock, begun));
            stream
        } else {
            let addresses = self.resolved(address).await?;
            phases.dns_ms = Some(since(&self.clock, begun));
            let begun = self.clock.instant();
            let stream = self.dial(&addresses).await?;
            phases.connect_ms = Some(since(&self.clock, begun));
            stream
        };
        if !address.is_encrypted() {
            return Ok(Box::new(stream));
        }
        let begun = self.clock.instant();
        let name = address.0.host_str().unwrap_or_default().trim_end_matches('.').trim_matches(['[', ']']);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| Failure::Tls)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        phases.tls_ms = Some(since(&self.clock, begun));
        Ok(Box::new(stream.map_err(|_| Failure::Tls)?))
    }

    /// Connects to one of the checked addresses itself, and looks at who is there.
    async fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        for address in addresses.iter().take(ADDRESSES_MAX) {
            let Ok(stream) = self.network.dial(*address).await else { continue };
            let peer = stream.peer_addr().map_err(|_| Failure::Connection)?;
            if peer != *address || !self.rules.allows(peer.ip()) {
                return Err(Failure::RefusedAddress);
            }
            return Ok(stream);
        }
        Err(Failure::Connection)
    }

    /// A way through the proxy; its address is the operator's, so no rule is applied to it.
    async fn tunnel(&self, proxy: &str, address: &Address) -> Result<TcpStream, Failure> {
        let mut stream = TcpStream::connect(proxy).await.map_err(|_| Failure::Connection)?;
        let host = address.0.host_str().unwrap_or_default();
        let port = address.port();
        let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.map_err(|_| Failure::Connection)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < PROXY_ANSWER_BYTES_MAX {
            answer.push(stream.read_u8().await.map_err(|_| Failure::Connection)?);
        }
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match status {
            b"200" => Ok(stream),
            b"403" => Err(Failure::RefusedAddress),
            _ => Err(Failure::Connection),
        }
    }
}

fn since(clock: &Clock, begun: Instant) -> i64 {
    i64::try_from(clock.instant().duration_since(begun).as_millis()).unwrap_or(i64::MAX)
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What moves a connection on; it has no task of its own, so that whoever drops it closes it.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn exchange(
    stream: Box<dyn Stream>,
    address: &Address,
    call: Call,
) -> Result<(StatusCode, HeaderMap, Incoming, Driver), Failure> {
    let broken = |_: hyper::Error| Failure::Connection;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut driver: Driver = Box::pin(async move {
        // What went wrong is told to whoever waits for the answer.
        let _ = connection.await;
    });
    let mut request = Request::builder().method(call.method).uri(address.path_and_query());
    if let Some(headers) = request.headers_mut() {
        headers.extend(call.headers);
        let host = HeaderValue::from_str(&address.authority()).map_err(|_| Failure::Connection)?;
        headers.insert(header::HOST, host);
    }
    let request = request.body(Full::new(call.body)).map_err(|_| Failure::Connection)?;
    let mut asked = Box::pin(sender.send_request(request));
    let response = poll_fn(|context| {
        let moved = driver.as_mut().poll(context);
        match asked.as_mut().poll(context) {
            Poll::Pending if moved.is_ready() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(answer) => Poll::Ready(Some((answer, moved.is_ready()))),
        }
    })
    .await;
    let (response, ended) = response.ok_or(Failure::Connection)?;
    let (head, body) = response.map_err(broken)?.into_parts();
    if ended {
        driver = Box::pin(std::future::pending());
    }
    Ok((head.status, head.headers, body, driver))
}

/// An answer whose headers have come.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, at most 16 KiB.
    pub headers: HeaderMap,
    body: Incoming,
    driver: Option<Driver>,
    begun: Instant,
    limit: Duration,
    phases: Phases,
    clock: Clock,
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        let left = self.limit.saturating_sub(self.clock.instant().duration_since(self.begun));
        let (driver, body) = (&mut self.driver, &mut self.body);
        let next = poll_fn(|context| {
            if let Some(moving) = driver
                && moving.as_mut().poll(context).is_ready()
            {
                *driver = None;
            }
            Pin::new(&mut *body).poll_frame(context)
        });
        let next = async {
            match next.await {
                // Trailers are nobody's business.
                Some(Ok(frame)) => Ok(frame.into_data().ok()),
                Some(Err(_)) => Err(Failure::Connection),
                None => Ok(None),
            }
        };
        let told = tokio::time::timeout(left, next).await.unwrap_or(Err(Failure::TimeoutTotal));
        told.map_err(|failure| Failed { failure, phases: self.phases() })
    }

    /// The body, cut at `most` bytes; true when it was cut.
    pub async fn read(&mut self, most: usize) -> Result<(Vec<u8>, bool), Failed> {
        let mut read = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            let room = most - read.len();
            if chunk.len() > room {
                read.extend(chunk.iter().take(room));
                return Ok((read, true));
            }
            read.extend_from_slice(&chunk);
        }
        Ok((read, false))
    }

    /// How long it took until now.
    pub fn phases(&self) -> Phases {
        Phases { total_ms: since(&self.clock, self.begun), ..self.phases }
    }
}
