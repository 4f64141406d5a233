//! Callbacks on their way: one queue for each channel account, signed over the bytes that leave,
//! repeated until they are answered 200 (`whatsapp` §4, `messenger` §3).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hmac::{Hmac, KeyInit as _, Mac as _};
use loket_backbone::clock::Clock;
use loket_backbone::http::Limits;
use loket_backbone::secret::Secret;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::media::hex;
use super::phone::Platform;
use super::settings::Rules;
use super::world::Post;

/// How long the platform waits for an answer to a callback. Its own figure is not published.
pub(crate) const CALLBACK: Limits =
    Limits { connect: Duration::from_secs(3), total: Duration::from_secs(10) };
/// How many callbacks may wait for one account; the oldest go first.
pub(crate) const WAITING_MAX: usize = 100_000;

/// JSON as the platform writes it: compact, ASCII only, `/` escaped (`whatsapp` §3).
pub(crate) fn wire(value: &Value) -> Bytes {
    let compact = value.to_string();
    let mut text = String::with_capacity(compact.len() + compact.len() / 4);
    for sign in compact.chars() {
        if sign == '/' {
            text.push_str("\\/");
        } else if sign.is_ascii() {
            text.push(sign);
        } else {
            for unit in sign.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    Bytes::from(text)
}

/// The value of `X-Hub-Signature-256`.
pub(crate) fn signature(secret: &Secret, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes());
    // HMAC takes a key of any length, so the error cannot come up.
    mac.map(|mac| format!("sha256={}", hex(&mac.chain_update(body).finalize().into_bytes())))
        .unwrap_or_default()
}

/// Sends one callback and answers its status; `None` when there was none.
pub(crate) async fn deliver(
    client: &reqwest::Client,
    url: &str,
    signature: Option<&str>,
    body: Bytes,
) -> Option<u16> {
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header("user-agent", "facebookexternalua");
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    Some(request.body(body).send().await.ok()?.status().as_u16())
}

/// One callback, before or after it was written out.
struct Parcel {
    entries: Vec<Value>,
    /// Set when it first left: a repeat has the same bytes.
    bytes: Option<Bytes>,
    attempts: u32,
    since: Instant,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Parcel>,
    waiting: BTreeMap<(Instant, u64), Parcel>,
    made: u64,
    under_way: usize,
    delivered: u64,
    refused: u64,
    dropped: u64,
    failing_since: Option<Instant>,
    /// Goes up with a reset: what is under way then is forgotten.
    era: u64,
}

impl Queue {
    fn wait(&mut self, until: Instant, parcel: Parcel) {
        self.made += 1;
        self.waiting.insert((until, self.made), parcel);
        if self.ready.len() + self.waiting.len() > WAITING_MAX {
            let oldest =
                self.ready.pop_front().or_else(|| self.waiting.pop_first().map(|(_, parcel)| parcel));
            self.dropped += u64::from(oldest.is_some());
        }
    }

    /// What is due now, with its neighbours when callbacks are batched.
    fn take(&mut self, now: Instant, batch_max: usize) -> Option<Parcel> {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            self.ready.push_back(first.remove());
        }
        let mut parcel = self.ready.pop_front()?;
        if parcel.bytes.is_none() {
            let is_fresh = |next: &Parcel| next.bytes.is_none();
            while parcel.entries.len() < batch_max && self.ready.front().is_some_and(is_fresh) {
                let Some(next) = self.ready.pop_front() else { break };
                parcel.entries.extend(next.entries);
            }
        }
        self.under_way += 1;
        Some(parcel)
    }
}

/// How the callbacks of an account stand.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) platform: Platform,
    pub(crate) account: String,
    /// Not yet answered 200: queued, waiting for a repeat, or under way.
    pub(crate) waiting: usize,
    pub(crate) delivered: u64,
    /// Answers other than 200, and none at all.
    pub(crate) refused: u64,
    /// Given up, or forgotten because there were too many.
    pub(crate) dropped: u64,
}

/// The callbacks of one channel account.
pub(crate) struct Courier {
    platform: Platform,
    account: String,
    queue: Mutex<Queue>,
    wake: Notify,
}

/// What became of one callback.
struct Done {
    parcel: Parcel,
    status: Option<u16>,
    era: u64,
    took: Duration,
}

impl Courier {
    pub(crate) fn new(platform: Platform, account: String) -> Self {
        Self { platform, account, queue: Mutex::default(), wake: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn standing(&self) -> Standing {
        let queue = self.queue();
        Standing {
            platform: self.platform,
            account: self.account.clone(),
            waiting: queue.ready.len() + queue.waiting.len() + queue.under_way,
            delivered: queue.delivered,
            refused: queue.refused,
            dropped: queue.dropped,
        }
    }

    /// Forgets everything that is on its way.
    pub(crate) fn reset(&self) {
        let mut queue = self.queue();
        *queue = Queue { era: queue.era + 1, ..Queue::default() };
    }

    pub(crate) fn take(&self, post: Post, clock: &Clock) {
        let now = clock.instant();
        let parcel = Parcel { entries: vec![post.entry], bytes: None, attempts: 0, since: now };
        self.queue().wait(now + post.delay, parcel);
        self.wake.notify_one();
    }

    /// Delivers until told to stop.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let (rules, addresses) = shared.with(|world| (world.rules.clone(), shared.addresses()));
            let at_once = match self.platform {
                Platform::Whatsapp => rules.callbacks_at_once,
                Platform::Messenger => rules.page_callbacks_at_once,
            };
            while under_way.len() < at_once {
                let (era, parcel) = {
                    let mut queue = self.queue();
                    (queue.era, queue.take(shared.clock.instant(), rules.batch_max))
                };
                let Some(parcel) = parcel else { break };
                let url = addresses.of(self.platform).to_owned();
                under_way.push(self.attempt(&shared, url, era, parcel));
            }
            let has_room = under_way.len() < at_once;
            let due = self.queue().waiting.first_key_value().map(|((due, _), _)| *due);
            let rest = due.map(|due| due.saturating_duration_since(shared.clock.instant()));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = under_way.next(), if !under_way.is_empty() => self.settle(&shared, &rules, done),
                () = self.wake.notified(), if has_room => {}
                () = tokio::time::sleep(rest.unwrap_or(Duration::MAX)), if has_room && rest.is_some() => {}
            }
        }
    }

    async fn attempt(&self, shared: &Shared, url: String, era: u64, mut parcel: Parcel) -> Done {
        let body = parcel.bytes.take().unwrap_or_else(|| {
            let entries = std::mem::take(&mut parcel.entries);
            wire(&json!({"object": self.platform.object(), "entry": entries}))
        });
        parcel.bytes = Some(body.clone());
        let begun = shared.clock.instant();
        let signed = signature(shared.secret(self.platform), &body);
        let status = deliver(&shared.client, &url, Some(&signed), body).await;
        Done { parcel, status, era, took: shared.clock.instant().saturating_duration_since(begun) }
    }

    fn settle(&self, shared: &Shared, rules: &Rules, done: Done) {
        let Done { mut parcel, status, era, took } = done;
        let is_good = status == Some(200);
        parcel.attempts += 1;
        let (attempt, now) = (parcel.attempts, shared.clock.instant());
        let mut ends = false;
        {
            let mut queue = self.queue();
            if queue.era != era {
                return;
            }
            queue.under_way -= 1;
            if is_good {
                queue.delivered += 1;
                queue.failing_since = None;
            } else {
                queue.refused += 1;
                let since = *queue.failing_since.get_or_insert(now);
                let silence = now.saturating_duration_since(since);
                ends = self.platform == Platform::Messenger
                    && silence >= Duration::from_millis(rules.unsubscribe_after_ms);
                if ends
                    || now.saturating_duration_since(parcel.since)
                        >= Duration::from_millis(rules.retry_for_ms)
                {
                    queue.dropped += 1;
                } else {
                    queue.wait(now + pause(rules, attempt), parcel);
                }
                if ends {
                    let left = queue.ready.len() + queue.waiting.len();
                    queue.dropped += u64::try_from(left).unwrap_or(0);
                    queue.ready.clear();
                    queue.waiting.clear();
                    queue.failing_since = None;
                }
            }
        }
        let result = if is_good { "delivered" } else { "refused" };
        metrics::counter!("loket_simulator_callbacks_total", "channel" => self.platform.name(), "result" => result)
            .increment(1);
        let kind = if is_good { "callback" } else { "callback_refused" };
        let told = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        shared.with(|world| {
            world.note(kind, &self.account, format!("{told}, attempt {attempt}, {} ms", took.as_millis()));
            world.version += 1;
            if ends {
                world.subscriptions.remove(&self.account);
                world.note("subscription", &self.account, "the app was unsubscribed: no 200 for too long");
            }
        });
    }
}

/// At once, then after `retry_ms`, then twice as long each time.
fn pause(rules: &Rules, attempts: u32) -> Duration {
    let Some(doublings) = attempts.checked_sub(2) else { return Duration::ZERO };
    let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
    Duration::from_millis(rules.retry_ms.saturating_mul(factor).min(rules.retry_ms_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_that_of_the_vectors() {
        let secret = Secret::new("loket-test-secret");
        let body = wire(&json!({"t": "äöå 😀", "u": "https://example.org/a"}));
        assert_eq!(body, r#"{"t":"\u00e4\u00f6\u00e5 \ud83d\ude00","u":"https:\/\/example.org\/a"}"#);
        assert_eq!(
            signature(&secret, &body),
            "sha256=82a37a3b1f2af9521a27d0e803e321e1dbd1bc80c1ffde29844df43ea49b2d07"
        );
        assert_eq!(
            signature(&secret, b""),
            "sha256=71ce46d93f9aa5832a885dd158be087aa17a0b35a8100779adae93c82f37bb3a"
        );
    }

    #[test]
    fn the_wire_form_reads_back_as_the_same_json() {
        let value = json!({"a": "\u{0}\u{1f}\"\\/\n\u{7f}é\u{ffff}\u{10ffff}", "ü": [1, null, {"/": "/"}]});
        let body = wire(&value);
        assert!(body.is_ascii());
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), value);
    }

    #[test]
    fn repeats_come_at_once_and_then_less_and_less_often() {
        let rules = Rules { retry_ms: 100, retry_ms_max: 1_000, ..Rules::default() };
        let pauses: Vec<_> = (1..=7).map(|attempts| pause(&rules, attempts).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(pause(&rules, u32::MAX).as_millis(), 1_000);
    }

    #[test]
    fn a_full_queue_forgets_its_oldest() {
        let now = Clock::system().instant();
        let mut queue = Queue::default();
        for number in 0..=WAITING_MAX {
            let parcel = Parcel { entries: vec![json!(number)], bytes: None, attempts: 0, since: now };
            queue.wait(now, parcel);
        }
        assert_eq!(queue.dropped, 1);
        assert_eq!(queue.take(now, 1).unwrap().entries, [json!(1)]);
    }

    #[test]
    fn fresh_callbacks_are_batched_and_repeats_are_not() {
        let now = Clock::system().instant();
        let mut queue = Queue::default();
        for number in 0..5 {
            let bytes = (number == 3).then(|| Bytes::from_static(b"{}"));
            queue.wait(now, Parcel { entries: vec![json!(number)], bytes, attempts: 0, since: now });
        }
        let sizes: Vec<_> =
            std::iter::from_fn(|| queue.take(now, 2)).map(|parcel| parcel.entries.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
    }
}
