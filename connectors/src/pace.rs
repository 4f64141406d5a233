//! How fast may be sent: one bucket per channel account and one per recipient
//! (`whatsapp` §13, `messenger` §12), in kv for all processes together and in memory for when kv is
//! away. What both lose, after a start, is full again, and the provider's own limit is the judge then.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loket_backbone::clock::Clock;
use loket_backbone::kv::SharedKv;
use loket_protocol::delivery::SendClass;
use sha2::{Digest as _, Sha256};

use crate::channel::Pace;

/// How many recipients are remembered before those who may be sent a whole burst again are forgotten.
const PAIRS_MAX: usize = 20_000;
/// The longest wait that is ever named, and the pace of a rate that makes no sense.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// An account may send what it may send in this time at once.
const ACCOUNT_BURST: Duration = Duration::from_secs(1);

/// It cannot be sent soon enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSoon {
    /// How long it would have to wait.
    pub(crate) wait: Duration,
    /// Whether the account or the recipient must wait.
    pub(crate) class: SendClass,
}

/// A bucket, as the one number that holds it whole: the moment at which it is full again.
#[derive(Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// How long a message has to wait, and the bucket after it.
    fn plan(self, now: Instant, every: Duration, burst: Duration) -> (Duration, Self) {
        let start = self.full_at.max(now);
        let wait = start.saturating_duration_since(now).saturating_sub(burst);
        (wait, Self { full_at: start + every })
    }
}

/// How fast an account and a recipient of it may be sent to.
struct Rates {
    account_every: Duration,
    account_burst: Duration,
    pair_every: Duration,
    pair_burst: Duration,
}

impl From<Pace> for Rates {
    fn from(pace: Pace) -> Self {
        let account_every = every(pace.account_per_second);
        let pair_every = every(pace.pair_per_second);
        Self {
            account_every,
            account_burst: ACCOUNT_BURST.saturating_sub(account_every),
            pair_every,
            pair_burst: pair_every.saturating_mul(pace.pair_burst.saturating_sub(1)),
        }
    }
}

/// The pace of the senders of all processes.
pub(crate) struct Pacing {
    own: Mutex<Pacer>,
    kv: SharedKv,
    clock: Clock,
}

impl Pacing {
    pub(crate) fn new(kv: SharedKv, clock: Clock) -> Self {
        Self { own: Mutex::default(), kv, clock }
    }

    fn own(&self) -> MutexGuard<'_, Pacer> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a place for one message and answers how long to wait for it; when that is longer
    /// than `patience`, nothing is reserved.
    pub(crate) async fn reserve(
        &self,
        account: &str,
        pair: &str,
        pace: Pace,
        patience: Duration,
    ) -> Result<Duration, TooSoon> {
        // What this process knows to be too soon takes no place of the others.
        self.own().plan(self.clock.instant(), account, pair, &pace.into(), patience)?;
        let shared = self.shared(account, pair, &pace.into(), patience).await?;
        let own = self.own().reserve(self.clock.instant(), account, pair, pace, patience)?;
        Ok(own.max(shared))
    }

    async fn shared(
        &self,
        account: &str,
        pair: &str,
        rates: &Rates,
        patience: Duration,
    ) -> Result<Duration, TooSoon> {
        // A recipient's number is nobody's business there.
        let pair_key = format!("pace:pair:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(pair.as_bytes())));
        let mut longest = Duration::ZERO;
        // When the recipient must wait, the account's place is lost. The other way round would cost more: a
        // recipient's places are seconds apart.
        for (key, every, burst, class) in [
            (
                format!("pace:account:{account}"),
                rates.account_every,
                rates.account_burst,
                SendClass::PaceAccount,
            ),
            (pair_key, rates.pair_every, rates.pair_burst, SendClass::PacePair),
        ] {
            match self.kv.pace(&key, every, burst, patience).await {
                Ok(wait) if wait > patience => return Err(TooSoon { wait: wait.min(WAIT_MAX), class }),
                Ok(wait) => longest = longest.max(wait),
                Err(error) => {
                    tracing::debug!(%error, "the pace is this process's own");
                    break;
                }
            }
        }
        Ok(longest)
    }

    /// The provider asks the whole account to slow down: nothing more from here for so long. Other
    /// processes are asked by the provider themselves.
    pub(crate) fn hold(&self, account: &str, wait: Duration) {
        self.own().hold(self.clock.instant(), account, wait);
    }
}

/// All buckets of one process.
#[derive(Default)]
struct Pacer {
    accounts: HashMap<String, Bucket>,
    pairs: HashMap<String, Bucket>,
}

impl Pacer {
    /// How long one message would have to wait, and both buckets after it.
    fn plan(
        &self,
        now: Instant,
        account: &str,
        pair: &str,
        rates: &Rates,
        patience: Duration,
    ) -> Result<(Duration, Bucket, Bucket), TooSoon> {
        let full = Bucket { full_at: now };
        let account_bucket = self.accounts.get(account).copied().unwrap_or(full);
        let pair_bucket = self.pairs.get(pair).copied().unwrap_or(full);
        let (account_wait, account_after) =
            account_bucket.plan(now, rates.account_every, rates.account_burst);
        let (pair_wait, pair_after) = pair_bucket.plan(now, rates.pair_every, rates.pair_burst);
        let wait = account_wait.max(pair_wait);
        if wait > patience {
            let class = if pair_wait > account_wait { SendClass::PacePair } else { SendClass::PaceAccount };
            return Err(TooSoon { wait: wait.min(WAIT_MAX), class });
        }
        Ok((wait, account_after, pair_after))
    }

    /// Reserves as [`Pacing::reserve`] does, in this process alone.
    fn reserve(
        &mut self,
        now: Instant,
        account: &str,
        pair: &str,
        pace: Pace,
        patience: Duration,
    ) -> Result<Duration, TooSoon> {
        let (wait, account_after, pair_after) = self.plan(now, account, pair, &pace.into(), patience)?;
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.retain(|_, bucket| bucket.full_at > now);
        }
        self.accounts.insert(account.to_owned(), account_after);
        self.pairs.insert(pair.to_owned(), pair_after);
        Ok(wait)
    }

    fn hold(&mut self, now: Instant, account: &str, wait: Duration) {
        let until = now + wait.min(WAIT_MAX) + ACCOUNT_BURST;
        let bucket = self.accounts.entry(account.to_owned()).or_insert(Bucket { full_at: until });
        bucket.full_at = bucket.full_at.max(until);
    }
}

/// Messages per second as the time between two of them.
fn every(per_second: f64) -> Duration {
    let seconds = 1.0 / per_second;
    Duration::try_from_secs_f64(seconds).map_or(WAIT_MAX, |time| time.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use loket_backbone::kv;

    const PACE: Pace = Pace { account_per_second: 10.0, pair_burst: 3, pair_per_second: 0.5 };
    const NONE: Duration = Duration::ZERO;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_recipient_gets_a_burst_and_then_the_pace() {
        let start = Clock::system().instant();
        let mut pacer = Pacer::default();
        for _ in 0..3 {
            assert_eq!(pacer.reserve(start, "a", "a:1", PACE, NONE), Ok(NONE));
        }
        let refused = TooSoon { wait: Duration::from_secs(2), class: SendClass::PacePair };
        assert_eq!(pacer.reserve(start, "a", "a:1", PACE, NONE), Err(refused));
        assert_eq!(pacer.reserve(start, "a", "a:2", PACE, NONE), Ok(NONE), "the other one does not wait");
        assert_eq!(pacer.reserve(at(start, 2000), "a", "a:1", PACE, NONE), Ok(NONE));
        assert!(pacer.reserve(at(start, 2000), "a", "a:1", PACE, NONE).is_err());
    }

    #[test]
    fn an_account_never_passes_its_rate_whatever_the_recipients() {
        let start = Clock::system().instant();
        let mut pacer = Pacer::default();
        let mut sent = 0;
        for millis in 0..3000 {
            let pair = format!("a:{millis}");
            if pacer.reserve(at(start, millis), "a", &pair, PACE, NONE).is_ok() {
                sent += 1;
            }
        }
        // A second's worth at once, then ten a second over the three seconds.
        assert!((39..=40).contains(&sent), "{sent}");
        let other = pacer.reserve(at(start, 3000), "b", "b:1", PACE, NONE);
        assert_eq!(other, Ok(NONE), "another account has its own");
    }

    #[test]
    fn a_short_wait_is_reserved_and_a_long_one_is_not() {
        let start = Clock::system().instant();
        let mut pacer = Pacer::default();
        let patience = Duration::from_millis(250);
        let waits: Vec<_> = (0..14)
            .map(|n| pacer.reserve(start, "a", &format!("a:{n}"), PACE, patience).map(|w| w.as_millis()))
            .collect();
        let expected: Vec<u128> = [0; 10].into_iter().chain([100, 200]).collect();
        assert_eq!(waits.iter().filter_map(|w| w.ok()).collect::<Vec<_>>(), expected);
        let refused = TooSoon { wait: Duration::from_millis(300), class: SendClass::PaceAccount };
        assert_eq!(waits.last(), Some(&Err(refused)), "a refused one takes no place");
    }

    #[tokio::test]
    async fn processes_share_one_pace_and_each_keeps_it_alone_without_kv() {
        let clock = Clock::movable();
        let shared = kv::open("memory:", clock.clone()).unwrap();
        let [one, other] = [(), ()].map(|()| Pacing::new(Arc::clone(&shared), clock.clone()));
        for process in [&one, &other, &one] {
            assert_eq!(process.reserve("a", "a:1", PACE, NONE).await, Ok(NONE));
        }
        for process in [&one, &other] {
            let refused = process.reserve("a", "a:1", PACE, NONE).await.unwrap_err();
            assert_eq!(refused.class, SendClass::PacePair, "the burst of three was of both");
        }
        // Two places of the account were lost to the two who were refused.
        for n in 2..7 {
            let process = if n % 2 == 0 { &one } else { &other };
            assert_eq!(process.reserve("a", &format!("a:{n}"), PACE, NONE).await, Ok(NONE));
        }
        let refused = other.reserve("a", "a:9", PACE, NONE).await.unwrap_err();
        assert_eq!(refused.class, SendClass::PaceAccount, "ten a second of both");
        let kept = shared.scan("pace:").await.unwrap();
        assert!(kept.iter().all(|(key, _)| !key.contains("a:1")), "no recipient stands in kv: {kept:?}");

        let [one, other] = [(), ()].map(|()| Pacing::new(kv::absent(), clock.clone()));
        for process in [&one, &other] {
            for _ in 0..3 {
                assert_eq!(process.reserve("a", "a:1", PACE, NONE).await, Ok(NONE));
            }
            assert!(process.reserve("a", "a:1", PACE, NONE).await.is_err());
        }
    }

    #[test]
    fn a_held_account_waits_as_long_as_the_provider_asks() {
        let start = Clock::system().instant();
        let mut pacer = Pacer::default();
        pacer.hold(start, "a", Duration::from_secs(5));
        assert!(pacer.reserve(at(start, 4800), "a", "a:1", PACE, NONE).is_err());
        assert!(pacer.reserve(at(start, 5200), "a", "a:1", PACE, NONE).is_ok());
    }

    #[test]
    fn a_pace_that_makes_no_sense_is_slow_and_does_not_panic() {
        let start = Clock::system().instant();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
            let pace = Pace { account_per_second: rate, pair_burst: 0, pair_per_second: rate };
            let mut pacer = Pacer::default();
            for _ in 0..3 {
                let _ = pacer.reserve(start, "a", "a:1", pace, WAIT_MAX * 10);
            }
        }
    }
}
