//! B12: a consumer that the broker serves but that never hears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::fixture::Broker;
use crate::bus::amqp::Options;
use crate::bus::contract::{Fixture as _, item, lease_one};
use crate::trial;

/// `basic.deliver`, the class and the method.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Passes everything between a client and the broker, but deliveries while it is deaf. It goes by
/// frames, so that the rest stays whole.
struct Ear {
    port: u16,
    is_deaf: Arc<AtomicBool>,
    _streams: JoinSet<()>,
}

impl Ear {
    async fn open(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_deaf = Arc::new(AtomicBool::new(false));
        let deaf = Arc::clone(&is_deaf);
        let mut streams = JoinSet::new();
        streams.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&broker).await.unwrap();
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                open.spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                open.spawn(frames(from_server, to_client, Arc::clone(&deaf)));
            }
        });
        Self { port, is_deaf, _streams: streams }
    }
}

async fn frames(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_deaf: Arc<AtomicBool>,
) {
    let mut swallowing = None;
    let mut head = [0; 7];
    while from.read_exact(&mut head).await.is_ok() {
        let [kind, one, two, size @ ..] = head;
        let mut rest = vec![0; u32::from_be_bytes(size) as usize + 1];
        if from.read_exact(&mut rest).await.is_err() {
            return;
        }
        let channel = [one, two];
        if kind == 1 {
            let swallow = rest.starts_with(&DELIVER) && is_deaf.load(Ordering::SeqCst);
            swallowing = swallow.then_some(channel).or(swallowing.filter(|other| *other != channel));
        }
        // The header and the body of what is swallowed go the same way; heartbeats do not.
        if kind <= 3 && swallowing == Some(channel) {
            continue;
        }
        if to.write_all(&head).await.is_err() || to.write_all(&rest).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b12_a_silent_consumer_is_replaced() {
    if !Broker::is_here() {
        return;
    }
    let url = trial::service(super::fixture::VARIABLE).unwrap();
    let (start, place) = url.split_once('@').unwrap();
    let (address, vhost) = place.split_once('/').unwrap();
    let ear = Ear::open(address.to_owned()).await;
    let broker = Broker::on(&format!("{start}@127.0.0.1:{}/{vhost}", ear.port));
    let options = Options { watch_every: Duration::from_millis(200), ..Broker::options() };
    let prefetch = u64::from(options.prefetch_whole);
    let bus = broker.open_as(options).await.unwrap();
    bus.publish("aside", &[item("heard", "key")]).await.unwrap();
    lease_one(&*bus, "aside", "crew").await.ack().await.unwrap();
    ear.is_deaf.store(true, Ordering::SeqCst);
    // More than is prefetched, so that some wait at the broker.
    for number in 0..prefetch + 10 {
        bus.publish("aside", &[item(number, number)]).await.unwrap();
    }
    let deaf = tokio::time::timeout(Duration::from_millis(100), bus.lease("aside", "crew", 1)).await;
    assert!(deaf.is_err(), "the proxy lets something through");
    // Only connections that begin from now on hear again: nothing but the watchdog helps.
    ear.is_deaf.store(false, Ordering::SeqCst);
    let lease = lease_one(&*bus, "aside", "crew").await;
    assert_eq!(lease.item().id, "0");
    assert!(lease.leased_before());
    bus.close().await;
}
