//! The worker on a real bus: neighbours of a bad item, what is parked and the way back, and life
//! without kv.

use std::sync::Arc;
use std::time::Duration;

use loket_backbone::bus::{self, Bus, Item, Wire};
use loket_backbone::kv::{self, SharedKv};
use loket_backbone::tasks::Tasks;
use loket_protocol::channel::{AccountSettings, Capabilities};
use loket_protocol::problem::{ParkReason, Problem, RawCallback, RawPiece};
use loket_protocol::topics::{self, CALLBACKS, INBOUND, PARKED};

use super::numbered::Numbering;
use super::*;
use crate::Hub;
use crate::parked::Reread;
use crate::requests::{EventFilter, ParkedItem};
use crate::seal::MasterKey;
use crate::settings::{HubSettings, StoreSettings};

/// A hub at work on a bus of its own.
pub(super) struct AtWork {
    pub(super) hub: Hub,
    wire: Wire,
    pub(super) clock: Clock,
    tasks: Tasks,
    _home: Home,
}

impl AtWork {
    async fn new(kv: impl FnOnce(Clock) -> SharedKv) -> Self {
        Self::on(kv, |bus| bus).await
    }

    /// On a bus that numbers its items.
    pub(super) async fn numbered() -> (Self, Arc<Numbering>) {
        let mut numbering = None;
        let here = Self::on(
            |_| kv::absent(),
            |bus| Arc::clone(numbering.insert(Arc::new(Numbering::over(bus)))) as Arc<dyn Bus>,
        )
        .await;
        (here, numbering.expect("it is opened"))
    }

    async fn on(kv: impl FnOnce(Clock) -> SharedKv, over: impl FnOnce(Arc<dyn Bus>) -> Arc<dyn Bus>) -> Self {
        let home = Home::fresh(On::of(module_path!())).await;
        let clock = Clock::movable();
        let url = format!("embedded:{}?durability=relaxed", home.folder.path().join("bus").display());
        let bus = bus::open(&url, clock.clone(), topics::TOPICS, topics::SUBJECTS).await.unwrap();
        let wire = Wire::new(over(bus));
        let settings = HubSettings { store: StoreSettings { url: home.url() }, ..HubSettings::default() };
        let key = MasterKey::from_bytes(&[5; 32]);
        let accounts = vec![AccountSettings {
            channel: number_201(),
            name: "front desk".into(),
            link: None,
            capabilities: Capabilities {
                window_ms: Some(24 * 60 * 60 * 1000),
                human_window_ms: None,
                reads_the_thread: false,
                text_chars_max: 4096,
                content_types: vec!["text".into()],
                captions: Vec::new(),
                caption_chars_max: 0,
                reactions: true,
            },
        }];
        let hub = Hub::open(&settings, key, accounts, wire.clone(), kv(clock.clone()), clock.clone());
        let at_work = Self { hub: hub.await.unwrap(), wire, clock, tasks: Tasks::new(), _home: home };
        at_work.hub.start(&at_work.tasks);
        at_work
    }

    pub(super) async fn with_kv() -> Self {
        Self::new(|clock| kv::open("memory:", clock).unwrap()).await
    }

    pub(super) async fn publish(&self, events: &[InboundEvent]) {
        let items: Vec<Item> = events
            .iter()
            .map(|event| Wire::item(event.key(), event.lane(), "trace".into(), event).unwrap())
            .collect();
        self.wire.publish(&INBOUND, &items).await.unwrap();
    }

    async fn publish_problem(&self, problem: &Problem) {
        let id = format!("{}#{}", problem.key(), problem.raw.number);
        let item = Wire::item(id, problem.lane(), "trace".into(), problem).unwrap();
        self.wire.publish(&PARKED, &[item]).await.unwrap();
    }

    async fn words(&self) -> Vec<String> {
        let inner = self.hub.inner();
        let mut reader = inner.store.read().await.unwrap();
        let threads = sql("SELECT id FROM threads ORDER BY id").all(&mut reader).await.unwrap();
        let mut words = Vec::new();
        for thread in threads {
            let found = messages::after(&mut reader, thread.parsed("id").unwrap(), 0, 1000).await.unwrap();
            words.extend(found.into_iter().map(|m| m.content.text.unwrap_or_default()));
        }
        words.sort();
        words
    }

    async fn parked(&self) -> Vec<ParkedItem> {
        self.hub.parked(None, None, None, 100).await.unwrap().items
    }

    /// Nothing is waiting on the topics that ingest reads, and the log is numbered.
    pub(super) async fn at_rest(&self) {
        eventually("the hub to be at rest", async || {
            for topic in [INBOUND.name, PARKED.name, CALLBACKS.name] {
                if self.wire.bus().depth(topic, "hub").await.unwrap().items > 0 {
                    return false;
                }
            }
            self.hub.health().await.unnumbered == 0
        })
        .await;
    }

    pub(super) async fn stop(self) {
        assert!(self.tasks.stop(Duration::from_secs(10)).await, "all tasks end when they are told to");
        self.hub.close().await;
        self.wire.bus().close().await;
    }
}

/// Waits until something is so, at most 20 s.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited for {what} in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_in_the_thread_once_and_numbered() {
    let here = AtWork::with_kv().await;
    let day = a_day();
    here.publish(&day).await;
    here.publish(&day).await;
    here.at_rest().await;
    assert_eq!(here.words().await, ["hello", "words of a", "words of b", "words of c"]);
    let events = here.hub.events(&EventFilter { after: 0, types: Vec::new(), limit: 500 }).await.unwrap();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(here.hub.log_head().await.unwrap().0, i64::try_from(seqs.len()).unwrap());
    let filter = EventFilter {
        after: 0,
        types: vec![EventType::MessageReceived, EventType::MessageEchoed],
        limit: 500,
    };
    assert_eq!(here.hub.events(&filter).await.unwrap().len(), 4);
    here.stop().await;
}

fn a_day() -> Vec<InboundEvent> {
    let mut hello = echo(2, 4, "d");
    if let Fact::Echo(said) = &mut hello.fact {
        said.content = Content::text("hello");
    }
    vec![message(1, 0, "a"), message(1, 1, "b"), message(2, 2, "c"), hello]
}

/// K2: everything works when each call of kv fails.
#[tokio::test(flavor = "multi_thread")]
async fn without_kv_everything_arrives_all_the_same() {
    let here = AtWork::new(|_| kv::absent()).await;
    here.publish(&a_day()).await;
    here.at_rest().await;
    assert_eq!(here.words().await, ["hello", "words of a", "words of b", "words of c"]);
    here.stop().await;
}

/// V10, B10: one bad item parks one item, at its fifth turn; its neighbours are untouched.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_is_parked_alone() {
    let here = AtWork::with_kv().await;
    // A message of nobody breaks a rule each time it is tried.
    let mut bad = message(9, 0, "bad");
    bad.customer = Some(Customer { handles: Vec::new(), name: Some("Nobody".into()), name_is_ours: false });
    let mut events = vec![bad.clone()];
    events.extend(a_day());
    here.publish(&events).await;
    here.at_rest().await;
    assert_eq!(here.words().await, ["hello", "words of a", "words of b", "words of c"]);
    let parked = here.parked().await;
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason, "poison");
    assert_eq!(parked[0].name, "P-1");
    assert!(parked[0].error.contains("5 times"), "{}", parked[0].error);
    let raw = here.hub.parked_raw(None, parked[0].id).await.unwrap();
    assert_eq!(serde_json::from_slice::<InboundEvent>(&raw).unwrap(), bad);
    let filter = EventFilter { after: 0, types: vec![EventType::ItemParked], limit: 9 };
    assert_eq!(here.hub.events(&filter).await.unwrap()[0].data["parked"]["name"], "P-1");
    assert_eq!(here.hub.health().await.parked, 1);
    here.hub.drop_parked(None, parked[0].id, "a test").await.unwrap();
    assert_eq!(here.parked().await[0].state, "dropped");
    assert!(here.hub.drop_parked(None, parked[0].id, "again").await.is_err());
    here.stop().await;
}

/// M7: one poison message among ten thousand, leased by 64 at a time: it is parked, and no innocent with it.
#[tokio::test(flavor = "multi_thread")]
async fn one_poison_message_parks_no_innocent() {
    let here = AtWork::with_kv().await;
    let mut events: Vec<InboundEvent> =
        (0..10_000).map(|n| message(n % 100, i64::from(n), &format!("m{n}"))).collect();
    // A message of nobody breaks a rule each time it is tried.
    events[5_000].customer =
        Some(Customer { handles: Vec::new(), name: Some("Nobody".into()), name_is_ours: false });
    here.publish(&events).await;
    here.at_rest().await;
    let mut expected: Vec<String> = (0..10_000).map(|n| format!("words of m{n}")).collect();
    expected.remove(5_000);
    expected.sort();
    assert_eq!(here.words().await, expected);
    let parked = here.parked().await;
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason, "poison");
    here.stop().await;
}

/// The same when carrying it out panics: it is caught and counted, the worker goes on, and whoever stood
/// in the same batch is there once.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_panics_is_parked_alone_at_its_fifth_turn() {
    let here = AtWork::with_kv().await;
    let bad = message(9, 0, "bad");
    let mut events = a_day();
    events.insert(1, bad.clone());
    let items: Vec<Item> = events
        .iter()
        .map(|event| {
            let trace = if *event == bad { PANICS } else { "trace" };
            Wire::item(event.key(), event.lane(), trace.into(), event).unwrap()
        })
        .collect();
    here.wire.publish(&INBOUND, &items).await.unwrap();
    here.at_rest().await;
    let parked = here.parked().await;
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason, "poison");
    assert_eq!(parked[0].error, "failed 5 times, the last time: panicked");
    let raw = here.hub.parked_raw(None, parked[0].id).await.unwrap();
    assert_eq!(serde_json::from_slice::<InboundEvent>(&raw).unwrap(), bad);
    let words = here.words().await;
    assert_eq!(words[1..], ["hello", "words of a", "words of b", "words of c"], "{words:?}");
    assert_eq!(words[0], "A message could not be shown (P-1)");
    let inner = here.hub.inner();
    let mut reader = inner.store.read().await.unwrap();
    let left = sql("SELECT item_id FROM suspects").all(&mut reader).await.unwrap();
    assert!(left.is_empty(), "nobody is under suspicion any more");
    drop(reader);
    // A repeat is counted with it, and the next message of the same person comes through.
    here.wire.publish(&INBOUND, &items[1..2]).await.unwrap();
    here.publish(&[message(9, 1, "good")]).await;
    here.at_rest().await;
    assert_eq!(here.parked().await.len(), 1);
    assert!(here.words().await.contains(&"words of good".to_owned()));
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_another_version_or_of_no_sense_is_parked_at_once() {
    let here = AtWork::with_kv().await;
    let mut newer = message(1, 0, "newer");
    newer.v = 99;
    here.publish(&[newer, message(1, 1, "a")]).await;
    let nonsense = Item {
        id: "x".into(),
        key: "k".into(),
        payload: "{\"no\": \"sense\"}".into(),
        trace: "trace".into(),
    };
    here.wire.publish(&INBOUND, &[nonsense]).await.unwrap();
    here.at_rest().await;
    let mut reasons: Vec<String> = here.parked().await.into_iter().map(|item| item.reason).collect();
    reasons.sort();
    assert_eq!(reasons, ["unreadable", "version"]);
    let words = here.words().await;
    assert!(words.contains(&"words of a".to_owned()), "{words:?}");
    here.stop().await;
}

fn problem(id: Option<&str>, raw: &[u8]) -> Vec<Problem> {
    let whole = RawPiece::cut(raw);
    let one = |raw| Problem {
        v: INBOUND_VERSION,
        channel_kind: "whatsapp".into(),
        account: Some("201".into()),
        reason: ParkReason::Unknown,
        error: "messages[0]: type \"hologram\" is unknown".into(),
        customer: Some(person(1)),
        external_id: id.map(str::to_owned),
        at: Some(Timestamp::from_millis(START + 3000)),
        received_at: Timestamp::from_millis(START + 3500),
        raw,
    };
    whole.into_iter().map(one).collect()
}

/// A later version that can read what this one could not.
struct Later(Option<(Vec<InboundEvent>, Vec<Problem>)>);

impl Reread for Later {
    fn receive(
        &self,
        channel_kind: &str,
        body: &[u8],
        _received_at: Timestamp,
    ) -> Option<(Vec<InboundEvent>, Vec<Problem>)> {
        assert_eq!(channel_kind, "whatsapp");
        assert!(body.starts_with(b"raw bytes"));
        self.0.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_stands_in_the_thread_and_is_replaced_by_a_replay() {
    for id in [Some("holo"), None] {
        let here = AtWork::with_kv().await;
        let raw = problem(id, b"raw bytes of an item");
        here.publish(&[message(1, 0, "a")]).await;
        here.publish_problem(&raw[0]).await;
        here.at_rest().await;
        here.publish(&[message(1, 9, "b")]).await;
        here.at_rest().await;
        let placeholder = "A message could not be shown (P-1)".to_owned();
        assert_eq!(here.words().await, [placeholder.clone(), "words of a".into(), "words of b".into()]);
        let parked = here.parked().await;
        assert_eq!((parked[0].times, parked[0].size_bytes > 20), (1, true));
        here.publish_problem(&Problem {
            received_at: Timestamp::from_millis(START + 9000),
            ..raw[0].clone()
        })
        .await;
        eventually("the repeat to be counted or absorbed", async || {
            here.at_rest().await;
            here.parked().await[0].times == 2 || here.parked().await.len() == 1
        })
        .await;
        // Still not understood: it stays, with what is wrong now.
        let still = Later(Some((Vec::new(), raw.clone())));
        assert!(here.hub.replay_parked(None, parked[0].id, &still).await.is_err());
        assert!(here.hub.replay_parked(None, parked[0].id, &Later(None)).await.is_err());
        assert_eq!(here.parked().await[0].state, "parked");
        let mut understood = message(1, 3, "holo");
        if let Fact::Message(said) = &mut understood.fact {
            said.content.text = Some("a hologram".into());
            if id.is_none() {
                said.external_id = None;
            }
        }
        let later = Later(Some((vec![understood.clone()], Vec::new())));
        here.hub.replay_parked(None, parked[0].id, &later).await.unwrap();
        here.hub.replay_parked(None, parked[0].id, &later).await.unwrap();
        assert_eq!(here.words().await, ["a hologram", "words of a", "words of b"]);
        assert_eq!(here.parked().await[0].state, "replayed");
        // The provider's own repeat finds it done.
        here.publish(&[InboundEvent { received_at: Timestamp::from_millis(START), ..understood }]).await;
        here.at_rest().await;
        assert_eq!(here.words().await.len(), 3);
        here.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_can_be_read_now_replaces_the_placeholder_by_itself() {
    let here = AtWork::with_kv().await;
    here.publish_problem(&problem(Some("holo"), b"raw bytes")[0]).await;
    here.at_rest().await;
    here.publish(&[message(1, 3, "holo")]).await;
    here.at_rest().await;
    assert_eq!(here.words().await, ["words of holo"]);
    assert_eq!(here.parked().await[0].state, "replayed");
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_item_comes_in_pieces_and_is_put_together() {
    let here = AtWork::with_kv().await;
    let mut raw = b"raw bytes".to_vec();
    raw.resize(RawPiece::BYTES_MAX * 2 + 7, b'x');
    let pieces = problem(None, &raw);
    assert_eq!(pieces.len(), 3);
    for piece in pieces.iter().rev().chain(&pieces) {
        here.publish_problem(piece).await;
        here.at_rest().await;
    }
    let parked = here.parked().await;
    assert_eq!(parked.len(), 1);
    assert_eq!(here.hub.parked_raw(None, parked[0].id).await.unwrap(), raw);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_callbacks_are_kept_sealed_for_seven_days() {
    let here = AtWork::with_kv().await;
    let body = b"{\"object\":\"whatsapp_business_account\"}";
    let callback = RawCallback {
        id: here.clock.id(),
        channel_kind: "whatsapp".into(),
        received_at: here.clock.now(),
        items: 1,
        raw: RawPiece::cut(body).remove(0),
    };
    let item = Wire::item(callback.id.to_string(), "whatsapp".into(), "trace".into(), &callback).unwrap();
    here.wire.publish(&CALLBACKS, &[item]).await.unwrap();
    here.at_rest().await;
    let inner = Arc::clone(here.hub.inner());
    let kept = async || {
        let mut reader = inner.store.read().await.unwrap();
        let rows = sql("SELECT sealed FROM raw_callbacks").all(&mut reader).await.unwrap();
        rows.iter().map(|row| row.bytes("sealed").unwrap()).collect::<Vec<_>>()
    };
    let sealed = kept().await;
    let opened = inner.key.open(&format!("callback:{}:0", callback.id), &sealed[0]).unwrap();
    assert_eq!(opened, body);
    here.publish(&[status(1, 0, "orphan", ProviderStatus::Sent), message(1, 0, "a")]).await;
    here.at_rest().await;
    let never = tokio_util::sync::CancellationToken::new();
    here.clock.advance(Duration::from_hours(7 * 24) - Duration::from_mins(1));
    crate::sweeps::sweep(&inner, &never).await.unwrap();
    assert_eq!(kept().await.len(), 1);
    here.clock.advance(Duration::from_mins(2));
    crate::sweeps::sweep(&inner, &never).await.unwrap();
    assert!(kept().await.is_empty());
    // Keys that stand for no message are kept twice as long.
    here.clock.advance(Duration::from_hours(8 * 24));
    crate::sweeps::sweep(&inner, &never).await.unwrap();
    let mut reader = inner.store.read().await.unwrap();
    for (text, left) in [
        ("SELECT COUNT(*) AS n FROM statuses", 0),
        ("SELECT COUNT(*) AS n FROM inbox", 1),
        ("SELECT COUNT(*) AS n FROM messages", 1),
    ] {
        let row = sql(text).first(&mut reader).await.unwrap().unwrap();
        assert_eq!(row.int("n").unwrap(), left, "{text}");
    }
    drop(reader);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_key_sealed_is_refused() {
    let home = Home::fresh(On::of(module_path!())).await;
    let settings = HubSettings { store: StoreSettings { url: home.url() }, ..HubSettings::default() };
    let url = format!("embedded:{}?durability=relaxed", home.folder.path().join("bus").display());
    let bus = bus::open(&url, Clock::system(), topics::TOPICS, topics::SUBJECTS).await.unwrap();
    let open = async |key: [u8; 32]| {
        let kv = kv::absent();
        let key = MasterKey::from_bytes(&key);
        Hub::open(&settings, key, Vec::new(), Wire::new(Arc::clone(&bus)), kv, Clock::system()).await
    };
    open([1; 32]).await.unwrap().close().await;
    let refused = open([2; 32]).await.err().unwrap().to_string();
    assert!(refused.contains("master key"), "{refused}");
    open([1; 32]).await.unwrap().close().await;
}
