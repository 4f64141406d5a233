//! The switchboard: what goes wrong on purpose, reproducibly.

use serde::{Deserialize, Serialize};

use super::phone::Platform;
use super::world::What;

/// What goes wrong. The default is nothing; a `PUT` replaces all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the page")]
pub struct Faults {
    /// The share of requests and callbacks that are hit, from 0 to 1.
    pub share: f64,
    /// The seed of the draw: same seed, same requests, same hits.
    pub seed: u64,
    /// How many more are hit before all is well again; unset is without end.
    pub times: Option<u32>,
    /// Only this platform.
    pub platform: Option<Platform>,
    /// Only this channel account (phone number id or Page id).
    pub account: Option<String>,
    /// Only sends of messages; off hits media, profiles and signals too.
    pub sends_only: bool,
    /// Graph answers so much later.
    pub slow_ms: u64,
    /// Graph answers this status instead of doing what was asked.
    pub status: Option<u16>,
    /// With `status`: the Graph error in the answer. Without it a 4xx or 5xx has no Graph error in it.
    pub code: Option<i64>,
    /// With `code`: the sub-code.
    pub subcode: Option<i64>,
    /// With `status`: the header `Retry-After`.
    pub retry_after_s: Option<u32>,
    /// Graph does what was asked and then answers `status` (default 502).
    pub status_after_acceptance: bool,
    /// Graph does what was asked and then says nothing for `timeout_ms`, and hangs up.
    pub timeout_after_acceptance: bool,
    /// How long that silence lasts.
    pub timeout_ms: u64,
    /// Graph hangs up without having done anything.
    pub drop_connection_before: bool,
    /// Graph does what was asked and hangs up without an answer.
    pub drop_connection_after: bool,
    /// Graph does what was asked and answers 200 with something that is no JSON.
    pub garble_answer: bool,
    /// Graph does what was asked and answers 200 without the message's id.
    pub answer_without_id: bool,
    /// Every token is over (190).
    pub token_expired: bool,
    /// Each callback comes so many times more, in parallel.
    pub duplicates: u32,
    /// Callbacks overtake each other.
    pub disorder: bool,
    /// Statuses and receipts never come.
    pub swallow_statuses: bool,
    /// Messenger echoes never come.
    pub swallow_echoes: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            share: 1.0,
            seed: 1,
            times: None,
            platform: None,
            account: None,
            sends_only: true,
            slow_ms: 0,
            status: None,
            code: None,
            subcode: None,
            retry_after_s: None,
            status_after_acceptance: false,
            timeout_after_acceptance: false,
            timeout_ms: 20_000,
            drop_connection_before: false,
            drop_connection_after: false,
            garble_answer: false,
            answer_without_id: false,
            token_expired: false,
            duplicates: 0,
            disorder: false,
            swallow_statuses: false,
            swallow_echoes: false,
        }
    }
}

/// The longest that a fault may keep anybody waiting.
pub(crate) const FAULT_MS_MAX: u64 = 120_000;
/// The most copies of a callback.
pub(crate) const DUPLICATES_MAX: u32 = 50;

impl Faults {
    /// What is wrong with these faults, in one sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.share) {
            Some("share must be from 0 to 1".to_owned())
        } else if self.slow_ms > FAULT_MS_MAX || self.timeout_ms > FAULT_MS_MAX {
            Some(format!("slow_ms and timeout_ms are at most {FAULT_MS_MAX}"))
        } else if self.duplicates > DUPLICATES_MAX {
            Some(format!("duplicates is at most {DUPLICATES_MAX}"))
        } else if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            Some("status must be from 200 to 599".to_owned())
        } else {
            None
        }
    }

    fn concerns(&self, platform: Platform, account: &str) -> bool {
        self.platform.is_none_or(|only| only == platform)
            && self.account.as_deref().is_none_or(|only| only == account)
    }

    fn touches_requests(&self) -> bool {
        self.slow_ms > 0
            || self.status.is_some()
            || self.status_after_acceptance
            || self.timeout_after_acceptance
            || self.drop_connection_before
            || self.drop_connection_after
            || self.garble_answer
            || self.answer_without_id
            || self.token_expired
    }

    fn touches_callback(&self, what: What) -> bool {
        self.duplicates > 0 || self.disorder || self.swallows(what)
    }

    /// Is it a callback that never comes?
    pub(crate) fn swallows(&self, what: What) -> bool {
        match what {
            What::Status => self.swallow_statuses,
            What::Echo => self.swallow_echoes,
            What::Message | What::Notice => false,
        }
    }
}

/// The switchboard with its dice.
#[derive(Debug)]
pub(crate) struct Switchboard {
    faults: Faults,
    dice: Dice,
}

impl Switchboard {
    pub(crate) fn new(faults: Faults) -> Self {
        let dice = Dice(faults.seed);
        Self { faults, dice }
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What befalls a request, if anything.
    pub(crate) fn strike_request(
        &mut self,
        platform: Platform,
        account: &str,
        is_send: bool,
    ) -> Option<Faults> {
        let is_meant = self.faults.touches_requests() && (is_send || !self.faults.sends_only);
        (is_meant && self.faults.concerns(platform, account) && self.draw()).then(|| self.faults.clone())
    }

    /// What befalls a callback, if anything.
    pub(crate) fn strike_callback(
        &mut self,
        platform: Platform,
        account: &str,
        what: What,
    ) -> Option<Faults> {
        (self.faults.touches_callback(what) && self.faults.concerns(platform, account) && self.draw())
            .then(|| self.faults.clone())
    }

    /// A number below `end`, from the same dice.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.dice.next() % end }
    }

    fn draw(&mut self) -> bool {
        if self.faults.times == Some(0) {
            return false;
        }
        let is_hit = self.faults.share >= 1.0 || self.dice.share() < self.faults.share;
        if is_hit && let Some(left) = &mut self.faults.times {
            *left -= 1;
        }
        is_hit
    }
}

/// `SplitMix64`: small, and the same everywhere. It protects nothing.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not including 1.
    fn share(&mut self) -> f64 {
        let top = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(faults: &Faults, of: usize) -> Vec<bool> {
        let mut board = Switchboard::new(faults.clone());
        (0..of).map(|_| board.strike_request(Platform::Whatsapp, "1", true).is_some()).collect()
    }

    #[test]
    fn the_same_seed_hits_the_same_requests_and_about_the_share_of_them() {
        let faults = Faults { share: 0.25, seed: 7, status: Some(503), ..Faults::default() };
        let first = hits(&faults, 4_000);
        assert_eq!(first, hits(&faults, 4_000));
        let other = Faults { seed: 8, ..faults };
        assert_ne!(first, hits(&other, 4_000));
        let count = first.iter().filter(|hit| **hit).count();
        assert!((800..1_200).contains(&count), "{count} of 4000");
    }

    #[test]
    fn nothing_is_hit_by_default_nor_beyond_the_count() {
        assert!(!hits(&Faults::default(), 10).contains(&true));
        let twice = Faults { times: Some(2), drop_connection_before: true, ..Faults::default() };
        assert_eq!(hits(&twice, 4), [true, true, false, false]);
    }

    #[test]
    fn a_fault_keeps_to_its_platform_and_account() {
        let faults = Faults {
            platform: Some(Platform::Whatsapp),
            account: Some("1".to_owned()),
            slow_ms: 5,
            duplicates: 1,
            ..Faults::default()
        };
        let mut board = Switchboard::new(faults);
        assert!(board.strike_request(Platform::Whatsapp, "1", true).is_some());
        assert!(board.strike_request(Platform::Whatsapp, "2", true).is_none());
        assert!(board.strike_request(Platform::Messenger, "1", true).is_none());
        assert!(board.strike_request(Platform::Whatsapp, "1", false).is_none());
        assert!(board.strike_callback(Platform::Whatsapp, "1", What::Message).is_some());
        assert!(board.strike_callback(Platform::Messenger, "1", What::Message).is_none());
    }

    #[test]
    fn absurd_faults_are_named() {
        let bad = [
            Faults { share: 1.5, ..Faults::default() },
            Faults { share: f64::NAN, ..Faults::default() },
            Faults { slow_ms: FAULT_MS_MAX + 1, ..Faults::default() },
            Faults { duplicates: DUPLICATES_MAX + 1, ..Faults::default() },
            Faults { status: Some(99), ..Faults::default() },
        ];
        assert!(bad.iter().all(|faults| faults.problem().is_some()));
        assert_eq!(Faults::default().problem(), None);
    }
}
