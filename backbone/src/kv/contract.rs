//! What every key-value backend promises, one function a clause. A backend joins by one line:
//! `kv_contract!(ItsFixture);`.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::{CALL_DEADLINE, KEY_BYTES_MAX, PACE_MAX, SharedKv, VALUE_BYTES_MAX, WAKES_MAX};
use crate::clock::Clock;

/// Makes fresh stores of one backend.
#[async_trait]
pub(crate) trait Fixture {
    /// An empty store, or `None` where its service is not there and may be skipped.
    async fn open() -> Option<Opened>;
}

/// An empty store, by two handles such as two processes would have. They wait longer than
/// [`CALL_DEADLINE`], so that a busy machine spoils no clause that is not about time.
pub(crate) struct Opened {
    pub(crate) here: SharedKv,
    pub(crate) there: SharedKv,
    /// A handle as everybody gets it.
    pub(crate) in_time: SharedKv,
    /// The clock that expiry follows; `None`: real time.
    pub(crate) clock: Option<Clock>,
}

impl Opened {
    async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }
}

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(400);

fn text(value: &'static str) -> Bytes {
    Bytes::from_static(value.as_bytes())
}

/// What the machine may take to look at a call that has ended.
const SLACK: Duration = Duration::from_millis(200);

pub(crate) async fn k1_every_call_ends_within_its_deadline(opened: Opened) {
    const ROUNDS: usize = 100;
    let kv = &opened.in_time;
    let (mut calls, mut answered) = (0, 0);
    macro_rules! in_time {
        ($call:expr) => {
            let ended = tokio::time::timeout(CALL_DEADLINE + SLACK, $call).await;
            calls += 1;
            answered += usize::from(ended.expect(stringify!($call)).is_ok());
        };
    }
    for round in 0..ROUNDS {
        let key = format!("key-{round}");
        in_time!(kv.set(&key, text("x"), LONG));
        in_time!(kv.get(&key));
        in_time!(kv.renew(&key, LONG));
        in_time!(kv.take(&key));
        in_time!(kv.remove(&key));
        in_time!(kv.scan("key"));
        in_time!(kv.count("counter", LONG));
        in_time!(kv.pace("row", SHORT, LONG, LONG));
        in_time!(kv.wake("channel", text("x")));
    }
    assert!(answered * 10 >= calls * 9, "of {calls} calls {answered} were answered");
}

pub(crate) async fn what_is_set_is_there_until_it_expires(opened: Opened) {
    opened.here.set("short", text("a"), SHORT).await.unwrap();
    opened.here.set("long", text("b"), LONG).await.unwrap();
    opened.here.set("again", text("c"), SHORT).await.unwrap();
    opened.here.set("again", text("d"), LONG).await.unwrap();
    assert_eq!(opened.there.get("short").await, Ok(Some(text("a"))));
    assert_eq!(opened.there.get("absent").await, Ok(None));
    opened.pass(SHORT).await;
    assert_eq!(opened.there.get("short").await, Ok(None));
    assert_eq!(opened.there.get("long").await, Ok(Some(text("b"))));
    assert_eq!(opened.there.get("again").await, Ok(Some(text("d"))), "the last value with its own time");
}

pub(crate) async fn a_value_comes_back_byte_for_byte(opened: Opened) {
    let every_byte: Bytes = (0..=255u8).collect();
    for value in [Bytes::new(), every_byte, vec![0; VALUE_BYTES_MAX].into()] {
        opened.here.set("bytes", value.clone(), LONG).await.unwrap();
        assert_eq!(opened.there.get("bytes").await, Ok(Some(value)));
    }
}

pub(crate) async fn too_much_is_refused(opened: Opened) {
    assert!(opened.here.set("big", vec![0; VALUE_BYTES_MAX + 1].into(), LONG).await.is_err());
    assert!(opened.here.set(&"k".repeat(KEY_BYTES_MAX + 1), text("x"), LONG).await.is_err());
    assert!(opened.here.count(&"k".repeat(KEY_BYTES_MAX + 1), LONG).await.is_err());
    assert_eq!(opened.here.scan("").await, Ok(Vec::new()));
}

pub(crate) async fn of_many_takers_one_gets_it(opened: Opened) {
    for round in 0..20 {
        let key = format!("ticket-{round}");
        opened.here.set(&key, text("once"), LONG).await.unwrap();
        let mut takers = JoinSet::new();
        for taker in 0..16 {
            let kv = if taker % 2 == 0 { opened.here.clone() } else { opened.there.clone() };
            let key = key.clone();
            takers.spawn(async move { kv.take(&key).await.unwrap() });
        }
        let got = takers.join_all().await.into_iter().flatten().count();
        assert_eq!(got, 1);
    }
}

pub(crate) async fn what_is_renewed_lives_on_as_it_is(opened: Opened) {
    opened.here.set("lease", text("x"), SHORT).await.unwrap();
    opened.pass(SHORT / 2).await;
    assert_eq!(opened.there.renew("lease", LONG).await, Ok(true));
    opened.pass(SHORT).await;
    assert_eq!(opened.here.get("lease").await, Ok(Some(text("x"))));
    assert_eq!(opened.here.renew("lease", SHORT).await, Ok(true), "it may also become shorter");
    opened.pass(SHORT).await;
    assert_eq!(opened.here.renew("lease", LONG).await, Ok(false), "what is gone is not brought back");
    assert_eq!(opened.here.get("lease").await, Ok(None));
}

pub(crate) async fn what_is_removed_is_gone(opened: Opened) {
    opened.here.set("key", text("x"), LONG).await.unwrap();
    opened.there.remove("key").await.unwrap();
    opened.there.remove("never there").await.unwrap();
    assert_eq!(opened.here.get("key").await, Ok(None));
}

pub(crate) async fn a_scan_finds_its_prefix_and_nothing_else(opened: Opened) {
    for key in ["agent:1", "agent:2", "agent", "agents:3", "bot:1", "agent:*", "agenT:4"] {
        opened.here.set(key, text("x"), LONG).await.unwrap();
    }
    opened.here.set("agent:gone", text("x"), SHORT).await.unwrap();
    opened.pass(SHORT).await;
    let scanned = opened.there.scan("agent:").await.unwrap();
    let mut found: Vec<_> = scanned.iter().map(|(key, _)| key.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["agent:*", "agent:1", "agent:2"]);
    assert!(scanned.iter().all(|(_, value)| *value == text("x")));
    assert_eq!(opened.there.scan("agent:*").await.unwrap().len(), 1, "a prefix is no pattern");
}

pub(crate) async fn a_count_is_exact_under_many_callers(opened: Opened) {
    let mut callers = JoinSet::new();
    for caller in 0..32 {
        let kv = if caller % 2 == 0 { opened.here.clone() } else { opened.there.clone() };
        callers.spawn(async move { kv.count("limit", LONG).await.unwrap() });
    }
    let mut said = callers.join_all().await;
    said.sort_unstable();
    assert_eq!(said, (1..=32).collect::<Vec<u64>>());
}

pub(crate) async fn a_count_begins_anew_after_the_window_of_its_first(opened: Opened) {
    assert_eq!(opened.here.count("limit", SHORT).await, Ok(1));
    opened.pass(SHORT / 2).await;
    assert_eq!(opened.here.count("limit", SHORT).await, Ok(2), "the window is that of the first");
    opened.pass(SHORT / 2 + Duration::from_millis(10)).await;
    assert_eq!(opened.here.count("limit", SHORT).await, Ok(1));
    opened.here.set("words", text("no number"), LONG).await.unwrap();
    assert!(opened.here.count("words", LONG).await.is_err());
}

pub(crate) async fn a_row_moves_on_by_one_each_time_after_a_burst(opened: Opened) {
    const ZERO: Duration = Duration::ZERO;
    // A burst of three: the place of the third lies two steps ahead.
    let burst = SHORT * 2;
    for _ in 0..3 {
        assert_eq!(opened.here.pace("row", SHORT, burst, ZERO).await, Ok(ZERO));
    }
    for kv in [&opened.here, &opened.there] {
        let wait = kv.pace("row", SHORT, burst, ZERO).await.unwrap();
        assert!(wait > ZERO && wait <= SHORT, "no place was taken, so it is the same for both: {wait:?}");
    }
    assert_eq!(opened.here.pace("another row", SHORT, burst, ZERO).await, Ok(ZERO));
    opened.pass(SHORT).await;
    assert_eq!(opened.there.pace("row", SHORT, burst, ZERO).await, Ok(ZERO), "it has moved on");
    opened.here.set("words", text("no number"), LONG).await.unwrap();
    assert!(opened.here.pace("words", SHORT, burst, ZERO).await.is_err());
    let slowest = opened.here.pace("slow", Duration::MAX, ZERO, ZERO).await;
    assert_eq!(slowest, Ok(ZERO));
    let next = opened.here.pace("slow", Duration::MAX, ZERO, ZERO).await.unwrap();
    assert!(next <= PACE_MAX, "{next:?}");
}

pub(crate) async fn a_row_gives_each_of_many_callers_a_place_of_their_own(opened: Opened) {
    let mut callers = JoinSet::new();
    for caller in 0..32 {
        let kv = if caller % 2 == 0 { opened.here.clone() } else { opened.there.clone() };
        callers.spawn(async move { kv.pace("row", LONG, LONG * 3, LONG * 100).await.unwrap() });
    }
    // They come one after the other, so each waits a little less than whole minutes.
    let minutes = |wait: Duration| (wait + LONG / 2).as_secs() / LONG.as_secs();
    let mut places: Vec<u64> = callers.join_all().await.into_iter().map(minutes).collect();
    places.sort_unstable();
    let row: Vec<u64> = [0, 0, 0].into_iter().chain(0..29).collect();
    assert_eq!(places, row);
}

pub(crate) async fn every_listener_hears_every_wake(opened: Opened) {
    opened.here.wake("early", text("nobody listens")).await.unwrap();
    let mut listeners = [opened.here.listen(), opened.there.listen()];
    opened.here.wake("one", text("first")).await.unwrap();
    opened.there.wake("two", text("second")).await.unwrap();
    for listener in &mut listeners {
        // Two processes tell in no agreed order, and what was said just before may still be on its way.
        let mut heard = BTreeSet::new();
        while heard.len() < 2 {
            let wake = tokio::time::timeout(Duration::from_secs(5), listener.recv()).await.unwrap().unwrap();
            if wake.channel != "early" {
                assert!(heard.insert((wake.channel, wake.message)), "once each");
            }
        }
        let said = [("one".to_owned(), text("first")), ("two".to_owned(), text("second"))];
        assert_eq!(heard, BTreeSet::from(said));
    }
}

pub(crate) async fn a_slow_listener_loses_the_oldest_and_goes_on(opened: Opened) {
    let mut listener = opened.there.listen();
    for number in 0..WAKES_MAX * 2 {
        opened.here.wake("busy", number.to_string().into()).await.unwrap();
    }
    let mut lagged = false;
    let last = (WAKES_MAX * 2 - 1).to_string();
    loop {
        match tokio::time::timeout(Duration::from_secs(5), listener.recv()).await.unwrap() {
            Ok(wake) if wake.message == last.as_bytes() => break,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => lagged = true,
            Err(RecvError::Closed) => panic!("a slow listener is not cut off"),
        }
    }
    assert!(lagged);
}

macro_rules! kv_contract {
    ($fixture:ty) => {
        $crate::kv::contract::kv_contract!($fixture:
            k1_every_call_ends_within_its_deadline,
            what_is_set_is_there_until_it_expires,
            a_value_comes_back_byte_for_byte,
            too_much_is_refused,
            of_many_takers_one_gets_it,
            what_is_renewed_lives_on_as_it_is,
            what_is_removed_is_gone,
            a_scan_finds_its_prefix_and_nothing_else,
            a_count_is_exact_under_many_callers,
            a_count_begins_anew_after_the_window_of_its_first,
            a_row_moves_on_by_one_each_time_after_a_burst,
            a_row_gives_each_of_many_callers_a_place_of_their_own,
            every_listener_hears_every_wake,
            a_slow_listener_loses_the_oldest_and_goes_on,
        );
    };
    ($fixture:ty: $($clause:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                use $crate::kv::contract::Fixture as _;
                let Some(opened) = <$fixture>::open().await else { return };
                $crate::kv::contract::$clause(opened).await;
            }
        )*
    };
}
pub(crate) use kv_contract;
