//! The role as a whole.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::time::Timestamp;
use loket_protocol::topics::SIGNALS;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Ground, Scripted, account, disk, eventually};

fn settings(channels: Value) -> ConnectorsSettings {
    let channels: BTreeMap<String, Value> = serde_json::from_value(channels).unwrap();
    ConnectorsSettings { channels, ..ConnectorsSettings::default() }
}

fn build(ground: &Ground, channels: Value) -> Result<Connectors, String> {
    build_on(ground, channels, Disks::none())
}

fn build_on(ground: &Ground, channels: Value, disks: Disks) -> Result<Connectors, String> {
    let Ground { wire, kv, clock, .. } = ground;
    Connectors::build(&settings(channels), wire.clone(), kv.clone(), clock.clone(), disks)
}

fn shop() -> Value {
    json!({"webchat": {"sites": {"shop": {"origins": ["https://shop.example.org"]}}}})
}

#[tokio::test]
async fn what_is_not_configured_is_absent_and_what_is_unknown_is_refused() {
    let ground = Ground::new().await;
    let none = build(&ground, json!({})).unwrap();
    assert!(none.channels().by_name().is_empty() && none.channels().accounts().is_empty());
    let one = build(&ground, shop()).unwrap();
    assert_eq!(one.channels().accounts().len(), 1);
    assert_eq!(one.channels().accounts()[0].channel.to_string(), "webchat:shop");
    let unknown = build(&ground, json!({"telegram": {}})).err().unwrap();
    assert!(unknown.contains("telegram") && unknown.contains("whatsapp"), "{unknown}");
    let open = json!({"whatsapp": {"accounts": {"main": {"phone_number_id": "1", "access_token": "t"}}}});
    assert!(build(&ground, open).is_err());
}

#[tokio::test]
async fn it_is_ready_once_the_bus_has_answered_and_not_without_it() {
    let ground = Ground::new().await;
    let connectors = build(&ground, shop()).unwrap();
    assert!(connectors.ready().is_err());
    let tasks = Tasks::new();
    connectors.start(&tasks);
    eventually("readiness", async || connectors.ready().ok()).await;
    ground.wire.bus().close().await;
    eventually("its end", async || connectors.ready().err()).await;
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn it_is_not_ready_while_the_disk_is_nearly_full() {
    let ground = Ground::new().await;
    let (free, disks) = disk();
    let connectors = build_on(&ground, shop(), disks.clone()).unwrap();
    let tasks = Tasks::new();
    connectors.start(&tasks);
    eventually("readiness", async || connectors.ready().ok()).await;
    free.store(0, Ordering::SeqCst);
    disks.look();
    assert_eq!(connectors.ready(), Err("the disk is nearly full".to_owned()));
    free.store(u64::MAX, Ordering::SeqCst);
    disks.look();
    assert_eq!(connectors.ready(), Ok(()));
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_parked_body_is_read_again_and_junk_is_none() {
    let ground = Ground::new().await;
    let text = include_str!("../channels/whatsapp/contract.json");
    let whatsapp: Value = serde_json::from_str(text).unwrap();
    let connectors = build(&ground, json!({"whatsapp": whatsapp["section"]})).unwrap();
    let body = include_bytes!("../channels/whatsapp/fixtures/text.json");
    let received = connectors.channels().reread("whatsapp", body, Timestamp::from_millis(1)).unwrap();
    assert_eq!((received.events.len(), received.problems.len()), (1, 0));
    assert!(connectors.channels().reread("whatsapp", b"junk", Timestamp::from_millis(1)).is_none());
    assert!(connectors.channels().reread("telegram", body, Timestamp::from_millis(1)).is_none());
    assert!(connectors.channels().reread("webchat", body, Timestamp::from_millis(1)).is_none());
}

#[tokio::test]
async fn signals_are_passed_on_and_answered() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    let (channel, channels) = Scripted::default().shared();
    signals::start(&channels, ground.wire.clone(), &tasks);
    let signal = Signal::Typing {
        channel: account(),
        to: vec![Handle::new(HandleKind::Phone, "31600000042")],
        on: true,
        external_id: None,
    };
    let ask =
        async |signal: &Signal| ground.wire.ask(&SIGNALS, signal, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ask(&signal).await, SignalReply::Done);
    assert_eq!(*channel.signals.lock().unwrap(), [signal]);
    let mut elsewhere = account();
    elsewhere.kind = loket_protocol::channel::ChannelKind::new("telegram").unwrap();
    let unknown = Signal::MarkRead { channel: elsewhere, to: Vec::new(), external_id: "1".to_owned() };
    assert_eq!(ask(&unknown).await, SignalReply::NotDone);
    let junk = ground.wire.bus().ask(SIGNALS.name, Bytes::from_static(b"junk"), Duration::from_secs(5)).await;
    assert_eq!(serde_json::from_slice::<SignalReply>(&junk.unwrap()).unwrap(), SignalReply::NotDone);
    assert!(tasks.stop(Duration::from_secs(5)).await);
}
