//! When a send that surely did not happen is tried again (`reliability-contract` §7). Pure: time
//! and chance come in as arguments.

use loket_protocol::delivery::SendClass;
use loket_protocol::time::Timestamp;

/// The first wait of a passing failure, in milliseconds; it doubles.
const BASE_MS: u64 = 1_000;
/// The longest wait of a passing failure, in milliseconds.
const WAIT_MS_MAX: u64 = 300_000;
/// How often a failure of class [`SendClass::RetryFew`] is tried again.
const FEW: u32 = 3;
/// The largest exponent of a recipient's pace: 4^6 s is a little over an hour.
const PAIR_EXPONENT_MAX: u32 = 6;
/// The longest wait that a provider may ask for, in milliseconds: a day.
const ASKED_MS_MAX: u64 = 86_400_000;
/// How long a channel account that needs a person waits before one message tries again.
pub(crate) const TRIAL_MS: i64 = 300_000;

/// A send that did not happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// What to do about it.
    pub(crate) class: SendClass,
    /// How often it failed so far, this time included.
    pub(crate) tries: u32,
    /// What the provider asks to wait, in milliseconds.
    pub(crate) retry_after_ms: Option<u64>,
    /// Now.
    pub(crate) now: Timestamp,
    /// After this moment it is not sent any more.
    pub(crate) deadline: Timestamp,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This message waits until then; others of other conversations go on.
    Again(Timestamp),
    /// The whole channel account waits until then.
    HoldAccount(Timestamp),
    /// The channel account waits for a person, and tries one message then.
    Reauthorise(Timestamp),
    /// It failed for good; the sentence says why beyond the provider's words.
    GiveUp(&'static str),
}

/// What to do about `failure`. `jitter` draws a whole number from 0 to its argument.
pub(crate) fn next(failure: &Failure, jitter: impl FnOnce(u64) -> u64) -> Next {
    let Failure { class, tries, now, .. } = *failure;
    let asked = failure.retry_after_ms.unwrap_or(0).min(ASKED_MS_MAX);
    let earlier_tries = tries.saturating_sub(1);
    let backoff = || {
        let most = BASE_MS.saturating_mul(2u64.saturating_pow(earlier_tries)).min(WAIT_MS_MAX);
        asked.max(jitter(most))
    };
    let wait = match class {
        SendClass::Final => return Next::GiveUp(""),
        SendClass::Configuration => return Next::Reauthorise(now.plus_millis(TRIAL_MS)),
        SendClass::RetryFew if tries > FEW => return Next::GiveUp("It was tried four times."),
        SendClass::Retry | SendClass::RetryFew | SendClass::PaceAccount => backoff(),
        SendClass::PacePair => asked.max(1_000 * 4u64.saturating_pow(earlier_tries.min(PAIR_EXPONENT_MAX))),
    };
    let at = now.plus_millis(i64::try_from(wait).unwrap_or(i64::MAX));
    if at > failure.deadline {
        return Next::GiveUp("The time in which it could be sent is over.");
    }
    if class == SendClass::PaceAccount { Next::HoldAccount(at) } else { Next::Again(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_253_400_000;

    fn failure(class: SendClass, tries: u32) -> Failure {
        let now = Timestamp::from_millis(NOW);
        Failure { class, tries, retry_after_ms: None, now, deadline: now.plus_millis(86_400_000) }
    }

    /// The wait in milliseconds when chance gives the most it can.
    fn longest(failure: &Failure) -> Option<i64> {
        match next(failure, |most| most) {
            Next::Again(at) | Next::HoldAccount(at) => Some(at.as_millis() - NOW),
            Next::Reauthorise(_) | Next::GiveUp(_) => None,
        }
    }

    #[test]
    fn a_passing_failure_waits_twice_as_long_each_time_and_five_minutes_at_most() {
        let waits: Vec<_> = (1..=12).map(|n| longest(&failure(SendClass::Retry, n))).collect();
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300];
        assert_eq!(waits, expected.map(|s| Some(s * 1_000)));
        assert_eq!(next(&failure(SendClass::Retry, 9), |_| 0), Next::Again(Timestamp::from_millis(NOW)));
    }

    #[test]
    fn a_few_times_means_three() {
        assert!(longest(&failure(SendClass::RetryFew, 3)).is_some());
        assert!(matches!(next(&failure(SendClass::RetryFew, 4), |m| m), Next::GiveUp(_)));
    }

    #[test]
    fn a_recipient_who_gets_too_much_waits_by_powers_of_four() {
        let waits: Vec<_> = (1..=9).map(|n| longest(&failure(SendClass::PacePair, n))).collect();
        let expected = [1, 4, 16, 64, 256, 1024, 4096, 4096, 4096];
        assert_eq!(waits, expected.map(|s| Some(s * 1_000)));
    }

    #[test]
    fn an_account_that_sends_too_much_is_held_as_a_whole() {
        assert!(matches!(next(&failure(SendClass::PaceAccount, 1), |m| m), Next::HoldAccount(_)));
    }

    #[test]
    fn what_the_provider_asks_is_honoured() {
        let asked = Failure { retry_after_ms: Some(90_000), ..failure(SendClass::Retry, 1) };
        assert_eq!(longest(&asked), Some(90_000));
        let absurd = Failure { retry_after_ms: Some(u64::MAX), ..failure(SendClass::Retry, 1) };
        assert_eq!(longest(&absurd), Some(86_400_000));
    }

    #[test]
    fn nothing_is_tried_after_its_time() {
        let late = Failure { deadline: Timestamp::from_millis(NOW + 500), ..failure(SendClass::Retry, 5) };
        assert!(matches!(next(&late, |m| m), Next::GiveUp(_)));
    }

    #[test]
    fn configuration_fails_nothing_and_final_fails_at_once() {
        assert!(matches!(next(&failure(SendClass::Configuration, 99), |m| m), Next::Reauthorise(_)));
        assert!(matches!(next(&failure(SendClass::Final, 1), |m| m), Next::GiveUp(_)));
    }
}
