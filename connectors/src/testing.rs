//! What this crate's tests stand on: a real bus and a real server on a port of its own, a channel
//! that does what the test says, and waiting for a condition with a deadline.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};
use async_trait::async_trait;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use loket_backbone::bus::{self, Item, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::disk::{Disks, Space};
use loket_backbone::kv::{self, SharedKv};
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::channel::{AccountSettings, ChannelAccount, ChannelKind};
use loket_protocol::outbound::OutboundMessage;
use loket_protocol::topics::{SUBJECTS, TOPICS, Topic};
use serde::de::DeserializeOwned;
use sha2::Sha256;
use tempfile::TempDir;

use crate::channel::{Callback, Channel, Pace, Received, Rejected, SendError, Taken};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A bus and a kv of the test's own.
pub(crate) struct Ground {
    pub(crate) wire: Wire,
    pub(crate) kv: SharedKv,
    pub(crate) clock: Clock,
    _dir: TempDir,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        // The Graph client needs a TLS provider; a second installation is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::movable();
        let url = format!("embedded:{}?durability=relaxed", dir.path().display());
        let bus = bus::open(&url, clock.clone(), TOPICS, SUBJECTS).await.unwrap();
        let kv = kv::open("memory:", clock.clone()).unwrap();
        Self { wire: Wire::new(bus), kv, clock, _dir: dir }
    }

    /// Everything that waits on a topic, oldest first, without taking it.
    pub(crate) async fn waiting<T: DeserializeOwned>(&self, topic: &Topic<T>) -> Vec<T> {
        let items: Vec<Item> = self.wire.bus().peek(topic.name, topic.group, 10_000).await.unwrap();
        items.iter().map(|item| serde_json::from_slice(&item.payload).unwrap()).collect()
    }

    /// How many items of a topic are not acknowledged.
    pub(crate) async fn depth<T>(&self, topic: &Topic<T>) -> u64 {
        self.wire.bus().depth(topic.name, topic.group).await.unwrap().items
    }
}

/// A disk whose free bytes the test sets; they are known after the next look.
pub(crate) fn disk() -> (Arc<AtomicU64>, Disks) {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let told = Arc::clone(&free);
    let disks = Disks::read_by(vec![("bus", "/".into())], move |_| {
        Ok(Space { free_bytes: told.load(Ordering::SeqCst), size_bytes: u64::MAX })
    });
    (free, disks)
}

/// Serves until the test's runtime ends, and says where.
pub(crate) fn serve(configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> SocketAddr {
    let server = HttpServer::new(move || App::new().configure(configure.clone()))
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let address = server.addrs()[0];
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(server.run());
    address
}

pub(crate) fn http() -> reqwest::Client {
    loket_backbone::http::client(loket_backbone::http::GRAPH).unwrap()
}

/// The signature of `body` as the fixtures' app makes it.
pub(crate) fn sign(body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(b"loket-test-secret").unwrap().chain_update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never came: {what}"))
}

type Receive = Box<dyn Fn(&Callback) -> Result<Received, Rejected> + Send + Sync>;
type Sending = Box<dyn Fn(&OutboundMessage) -> Result<Taken, SendError> + Send + Sync>;

/// Channels by name, as the role keeps them.
pub(crate) type Channels = Vec<(&'static str, Arc<dyn Channel>)>;

/// A channel that does what the test says. It authenticates everything that carries a signature.
pub(crate) struct Scripted {
    pub(crate) receive: Receive,
    pub(crate) send: Sending,
    pub(crate) pace: Pace,
    /// How long a send takes.
    pub(crate) send_time: Duration,
    pub(crate) sent: Mutex<Vec<OutboundMessage>>,
    pub(crate) signals: Mutex<Vec<Signal>>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            receive: Box::new(|_| Ok(Received::default())),
            send: Box::new(|message| {
                Ok(Taken {
                    external_id: format!("sent:{}", message.dispatch.outbox_id()),
                    learnt: Vec::new(),
                })
            }),
            pace: Pace { account_per_second: 1000.0, pair_burst: 100, pair_per_second: 100.0 },
            send_time: Duration::ZERO,
            sent: Mutex::default(),
            signals: Mutex::default(),
        }
    }
}

impl Scripted {
    pub(crate) fn shared(self) -> (Arc<Self>, Channels) {
        let own = Arc::new(self);
        let channel: Arc<dyn Channel> = Arc::<Self>::clone(&own);
        (own, vec![("scripted", channel)])
    }
}

pub(crate) fn account() -> ChannelAccount {
    ChannelAccount { kind: ChannelKind::new("scripted").unwrap(), account: "1".to_owned() }
}

#[async_trait]
impl Channel for Scripted {
    fn accounts(&self) -> Vec<AccountSettings> {
        Vec::new()
    }

    fn handshake(&self, _mode: &str, _token: &str, _challenge: &str) -> Result<String, Rejected> {
        Err(Rejected::VerifyToken)
    }

    fn authenticate(&self, callback: &Callback) -> Result<(), Rejected> {
        if callback.signatures.is_empty() { Err(Rejected::Signature) } else { Ok(()) }
    }

    fn receive(&self, callback: &Callback) -> Result<Received, Rejected> {
        (self.receive)(callback)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Taken, SendError> {
        self.sent.lock().unwrap().push(message.clone());
        tokio::time::sleep(self.send_time).await;
        (self.send)(message)
    }

    async fn signal(&self, signal: &Signal) -> SignalReply {
        self.signals.lock().unwrap().push(signal.clone());
        SignalReply::Done
    }

    fn pace(&self, _account: &str) -> Pace {
        self.pace
    }

    async fn probe(&self, _account: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Puts pieces together and checks that none is missing.
pub(crate) fn whole(pieces: &[loket_protocol::problem::RawPiece]) -> Bytes {
    let mut bytes = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        assert_eq!(piece.number, u32::try_from(number).unwrap());
        assert_eq!(piece.of, u32::try_from(pieces.len()).unwrap());
        bytes.extend(piece.bytes().unwrap());
    }
    bytes.into()
}
