//! Where one part of an outgoing message stands, as a small machine without any I/O
//! (`reliability-contract` §3). The store keeps it, `claims`, `reports` and `dispatch` drive it, and
//! the model in `standing/model.rs` walks through everything that can happen to it.

use loket_protocol::outbound::ClaimAnswer;

#[cfg(test)]
mod model;

/// The state of one part. `Sent` and `Failed` are settled; the others are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PartState {
    /// Waits for a sender.
    Queued,
    /// Claimed: it may be on its way.
    Sending,
    /// The request left and the answer was lost.
    Unconfirmed,
    /// The provider took it.
    Sent,
    /// It will not be sent.
    Failed,
}

impl PartState {
    /// All states.
    pub(crate) const ALL: [Self; 5] =
        [Self::Queued, Self::Sending, Self::Unconfirmed, Self::Sent, Self::Failed];

    /// The name in the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Unconfirmed => "unconfirmed",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What became of a dispatch, reduced to what decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum News {
    /// The provider took it.
    Sent,
    /// It surely was not sent and may be tried again.
    NotSent,
    /// It surely was not sent and will not be.
    Failed,
    /// Nobody can know.
    Unconfirmed,
}

/// One part: its state, the number of its present dispatch, who claimed it and how often somebody
/// decided to send it again. `N` is the nonce of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Standing<N> {
    /// Its state.
    pub(crate) state: PartState,
    /// The number of the present dispatch, from 1.
    pub(crate) number: u32,
    /// The nonce of the lease that claimed the present dispatch.
    pub(crate) claim: Option<N>,
    /// Recorded decisions to send again although it may have arrived.
    pub(crate) resends: u32,
}

impl<N: Clone + PartialEq> Standing<N> {
    /// A part that was just accepted; the store writes it in these words.
    #[cfg(test)]
    pub(crate) fn queued() -> Self {
        Self { state: PartState::Queued, number: 1, claim: None, resends: 0 }
    }

    /// A sender asks leave to send dispatch `number`. Granted once; the same nonce is granted again,
    /// because then only the answer was lost. A nonce belongs to one lease, never to a process.
    pub(crate) fn claimed(&self, number: u32, nonce: &N) -> (ClaimAnswer, Option<Self>) {
        if number != self.number {
            return (ClaimAnswer::Refused, None);
        }
        match self.state {
            PartState::Queued => {
                let next = Self { state: PartState::Sending, claim: Some(nonce.clone()), ..self.clone() };
                (ClaimAnswer::Granted, Some(next))
            }
            PartState::Sending if self.claim.as_ref() == Some(nonce) => (ClaimAnswer::Granted, None),
            _ => (ClaimAnswer::Refused, None),
        }
    }

    /// A report about dispatch `number`. `Sent` of any number counts, because it is true for ever;
    /// everything else counts only for the present dispatch, and only while it is under way.
    /// `None`: nothing changes.
    pub(crate) fn reported(&self, number: u32, news: News) -> Option<Self> {
        if news == News::Sent {
            let open = !matches!(self.state, PartState::Sent | PartState::Failed);
            return open.then(|| Self { state: PartState::Sent, ..self.clone() });
        }
        let under_way = matches!(self.state, PartState::Sending | PartState::Unconfirmed);
        if number != self.number || !under_way {
            return None;
        }
        match news {
            News::NotSent => Some(self.again()),
            News::Failed => Some(Self { state: PartState::Failed, ..self.clone() }),
            News::Unconfirmed => (self.state == PartState::Sending)
                .then(|| Self { state: PartState::Unconfirmed, ..self.clone() }),
            News::Sent => None,
        }
    }

    /// No report came in time after the claim.
    pub(crate) fn silent(&self) -> Option<Self> {
        (self.state == PartState::Sending).then(|| Self { state: PartState::Unconfirmed, ..self.clone() })
    }

    /// Somebody, or the recorded policy, decides to send again what may have arrived.
    pub(crate) fn sent_again(&self) -> Option<Self> {
        (self.state == PartState::Unconfirmed)
            .then(|| Self { resends: self.resends.saturating_add(1), ..self.again() })
    }

    /// A new dispatch: copies of the old one that are still on the bus are refused.
    fn again(&self) -> Self {
        Self {
            state: PartState::Queued,
            number: self.number.saturating_add(1),
            claim: None,
            resends: self.resends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending() -> Standing<u8> {
        Standing { state: PartState::Sending, number: 2, claim: Some(7), resends: 0 }
    }

    #[test]
    fn one_lease_gets_the_claim_and_gets_it_again_when_the_answer_was_lost() {
        let (answer, next) = Standing::queued().claimed(1, &7);
        assert_eq!(answer, ClaimAnswer::Granted);
        let next: Standing<u8> = next.expect("it is claimed now");
        assert_eq!(next.claimed(1, &7), (ClaimAnswer::Granted, None));
        assert_eq!(next.claimed(1, &8), (ClaimAnswer::Refused, None));
    }

    #[test]
    fn a_claim_for_another_dispatch_is_refused() {
        for number in [0, 2] {
            assert_eq!(Standing::<u8>::queued().claimed(number, &7), (ClaimAnswer::Refused, None));
        }
    }

    #[test]
    fn an_old_not_sent_changes_nothing_and_an_old_sent_counts() {
        assert_eq!(sending().reported(1, News::NotSent), None);
        assert_eq!(sending().reported(1, News::Failed), None);
        assert_eq!(sending().reported(1, News::Unconfirmed), None);
        assert_eq!(sending().reported(1, News::Sent).map(|s| s.state), Some(PartState::Sent));
    }

    #[test]
    fn not_sent_makes_a_new_dispatch() {
        let next = sending().reported(2, News::NotSent).expect("it is queued again");
        assert_eq!((next.state, next.number, next.claim, next.resends), (PartState::Queued, 3, None, 0));
    }

    #[test]
    fn what_is_settled_stays_settled() {
        for state in [PartState::Sent, PartState::Failed] {
            let settled = Standing { state, ..sending() };
            for news in [News::NotSent, News::Failed, News::Unconfirmed, News::Sent] {
                assert_eq!(settled.reported(2, news), None, "{state:?} {news:?}");
            }
            assert_eq!((settled.silent(), settled.sent_again()), (None, None));
        }
    }

    #[test]
    fn only_what_is_unconfirmed_is_sent_again_and_it_is_counted() {
        assert_eq!(sending().sent_again(), None);
        let lost = sending().silent().expect("no report");
        let next = lost.sent_again().expect("decided");
        assert_eq!((next.state, next.number, next.resends), (PartState::Queued, 3, 1));
    }

    #[test]
    fn names_are_read_back() {
        for state in PartState::ALL {
            assert_eq!(PartState::from_name(state.as_str()), Some(state));
        }
    }
}
