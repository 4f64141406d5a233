//! The dispatcher: publishes the head of each conversation when it is due, and takes up again what
//! has waited too long. Waiting is always a row with a time (`reliability-contract` §0, line 9).

use std::collections::HashSet;
use std::time::Duration;

use loket_backbone::bus::{Item, Wire};
use loket_backbone::failpoint;
use loket_backbone::kv::Wake;
use loket_protocol::channel::{ChannelAccount, ChannelHealth};
use loket_protocol::outbound::{Dispatch, OutboundMessage};
use loket_protocol::time::Timestamp;
use loket_protocol::topics::{OUTBOUND, WAKE_OUTBOUND};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::retry::TRIAL_MS;
use crate::store::channels;
use crate::store::outbound::{self, Part};
use crate::{Hub, HubError, worker};

/// How often it looks without being told to.
const POLL: Duration = Duration::from_secs(1);
/// How often the gauges of what waits are set.
const GAUGES: Duration = Duration::from_secs(5);
/// How many heads go out in one round.
const HEADS_MAX: u32 = 64;
/// How many overdue parts share one commit.
const OVERDUE_MAX: u32 = 64;
/// How long heads belong to the dispatcher that took them, until it has noted that they are published.
const TAKEN_MS: i64 = 10_000;
/// How long after publishing a dispatch that nobody claimed is published again; it doubles.
const REPEAT_MS: i64 = 60_000;
/// The longest such wait.
const REPEAT_MS_MAX: i64 = 600_000;

/// How long to wait for a claim when a dispatch has been published so often before.
fn repeat_after_ms(published_times: i64) -> i64 {
    let doublings = u32::try_from(published_times).unwrap_or(u32::MAX).min(10);
    REPEAT_MS.saturating_mul(2_i64.saturating_pow(doublings)).min(REPEAT_MS_MAX)
}

impl Hub {
    /// Tells the dispatcher to look now: something was queued or settled.
    pub(crate) fn kick(&self) {
        self.inner().kick.notify_one();
    }

    /// Tells also the dispatchers of other processes; they look every second anyway.
    pub(crate) async fn kick_everywhere(&self) {
        self.kick();
        if let Err(error) = self.inner().kv.wake(WAKE_OUTBOUND, bytes::Bytes::new()).await {
            tracing::debug!(%error, "a wake-up was lost");
        }
    }

    /// Dispatches until told to stop.
    pub(crate) async fn dispatch(self, stop: CancellationToken) {
        let mut wakes = Some(self.inner().kv.listen());
        let mut failures = 0;
        let mut looked = None;
        while !stop.is_cancelled() {
            match self.dispatch_round().await {
                Ok(more) => {
                    failures = 0;
                    if looked.is_none_or(|at| self.inner().clock.instant().duration_since(at) >= GAUGES) {
                        looked = Some(self.inner().clock.instant());
                        self.gauges().await;
                    }
                    if !more {
                        self.wait_for_work(&stop, &mut wakes).await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(worker = "dispatch", %error, "waiting for bus and store");
                    }
                    worker::pause(&stop, failures).await;
                }
            }
        }
    }

    /// How many replies wait and how many nobody knows of, by channel account.
    async fn gauges(&self) {
        let counts = async {
            let mut reader = self.inner().store.read().await?;
            outbound::counts(&mut reader).await
        };
        let Ok(counts) = counts.await else { return };
        for channel in self.inner().accounts.keys() {
            let count = counts.iter().find(|(counted, ..)| counted == channel);
            let (queued, unconfirmed) =
                count.map_or((0, 0), |(_, queued, unconfirmed)| (*queued, *unconfirmed));
            for (name, value) in
                [("loket_outbound_queued", queued), ("loket_outbound_unconfirmed", unconfirmed)]
            {
                let value = f64::from(u32::try_from(value).unwrap_or(u32::MAX));
                metrics::gauge!(name, "channel" => channel.kind.to_string(), "account" => channel.account.clone())
                    .set(value);
            }
        }
    }

    async fn wait_for_work(&self, stop: &CancellationToken, wakes: &mut Option<broadcast::Receiver<Wake>>) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.inner().kick.notified() => {}
            () = self.inner().store.outgoing().notified() => {}
            () = woken(wakes) => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }

    /// One round: what is due goes out, what is overdue is decided. True when there may be more.
    pub(crate) async fn dispatch_round(&self) -> Result<bool, HubError> {
        let now = self.inner().clock.now();
        let mut reader = self.inner().store.read().await?;
        let overdue = outbound::overdue(&mut reader, now, OVERDUE_MAX).await?;
        failpoint!("hub.dispatch.select.before", HubError::Unavailable("on purpose".to_owned()));
        let mut heads = outbound::due_heads(&mut reader, now, HEADS_MAX).await?;
        failpoint!("hub.dispatch.select.after" if !heads.is_empty(), HubError::Unavailable("on purpose".to_owned()));
        let in_trouble: HashSet<ChannelAccount> = channels::all(&mut reader)
            .await?
            .into_iter()
            .filter(|row| row.health == ChannelHealth::Reauthorise)
            .map(|row| row.channel)
            .collect();
        drop(reader);
        if self.inner().store.is_shared() && !heads.is_empty() {
            heads = self.take_heads(now).await?;
        }
        let mut more = heads.len() == HEADS_MAX as usize;
        let damaged: Vec<Part> = heads.extract_if(.., |part| part.payload.is_none()).collect();
        let all_at_once = overdue.len() == OVERDUE_MAX as usize;
        let mut moved = true;
        for part in overdue.iter().chain(&damaged) {
            moved &= self.take_up(part).await?;
        }
        more |= all_at_once && moved;
        let trials = one_a_trial(&mut heads, &in_trouble);
        if !heads.is_empty() {
            self.publish(&heads, &trials, now).await?;
        }
        Ok(more)
    }

    /// Of several dispatchers each takes other heads: two that publish the same ones are harmless, because
    /// one claim is granted, and do twice the work. A crash before publishing costs [`TAKEN_MS`].
    async fn take_heads(&self, now: Timestamp) -> Result<Vec<Part>, HubError> {
        let mut tx = self.inner().store.begin_for_worker().await?;
        let heads = outbound::take_due_heads(&mut tx, now, now.plus_millis(TAKEN_MS), HEADS_MAX).await?;
        tx.commit().await?;
        Ok(heads)
    }

    /// Takes up one part that waited too long or cannot be sent. What is wrong with it alone stops
    /// nobody else: false then.
    async fn take_up(&self, part: &Part) -> Result<bool, HubError> {
        let done = async {
            let mut tx = self.inner().store.begin_for_worker().await?;
            self.inner().overdue(&mut tx, part).await?;
            tx.commit().await
        };
        match done.await {
            Ok(()) => Ok(true),
            Err(error) if error.is_shared() || error.is_passing() => Err(error.into()),
            Err(error) => {
                metrics::counter!("loket_outbound_unreadable_total").increment(1);
                tracing::error!(%error, message.id = %part.message, "a part cannot be taken up; run loket verify");
                Ok(false)
            }
        }
    }

    /// Publishes first and notes it afterwards: a crash between the two publishes twice, which the
    /// claim absorbs; the other way round a crash would leave what nobody sends.
    async fn publish(
        &self,
        heads: &[Part],
        trials: &[ChannelAccount],
        now: Timestamp,
    ) -> Result<(), HubError> {
        let items = heads.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        failpoint!("hub.dispatch.publish.before", HubError::Unavailable("on purpose".to_owned()));
        self.inner()
            .wire
            .publish(&OUTBOUND, &items)
            .await
            .map_err(|error| HubError::Unavailable(error.to_string()))?;
        failpoint!("hub.dispatch.publish.after", HubError::Unavailable("on purpose".to_owned()));
        metrics::counter!("loket_outbound_published_total").increment(heads.len() as u64);
        let mut tx = self.inner().store.begin_for_worker().await?;
        // In the order in which all lock parts.
        let mut heads: Vec<&Part> = heads.iter().collect();
        heads.sort_by_key(|part| (part.message, part.index));
        for part in heads {
            let again = now.plus_millis(repeat_after_ms(part.published_times));
            outbound::published(&mut tx, part, again).await?;
        }
        for channel in trials {
            channels::hold(&mut tx, channel, now.plus_millis(TRIAL_MS)).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn woken(wakes: &mut Option<broadcast::Receiver<Wake>>) {
    loop {
        let Some(receiver) = wakes else { return std::future::pending().await };
        match receiver.recv().await {
            Ok(wake) if wake.channel == WAKE_OUTBOUND => return,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            // Without kv there is still the clock.
            Err(broadcast::error::RecvError::Closed) => *wakes = None,
        }
    }
}

/// Of an account that waits for a person one message goes out to try; the others stay.
fn one_a_trial(heads: &mut Vec<Part>, in_trouble: &HashSet<ChannelAccount>) -> Vec<ChannelAccount> {
    let mut trials: Vec<ChannelAccount> = Vec::new();
    heads.retain(|part| {
        if !in_trouble.contains(&part.channel) {
            return true;
        }
        let first = !trials.contains(&part.channel);
        if first {
            trials.push(part.channel.clone());
        }
        first
    });
    trials
}

fn item(part: &Part) -> Result<Item, HubError> {
    let dispatch = Dispatch { message_id: part.message, part: part.index, number: part.standing.number };
    let unreadable = || HubError::Internal(format!("a part of message {} cannot be read", part.message));
    let payload = OutboundMessage { dispatch, ..part.payload.clone().ok_or_else(unreadable)? };
    Wire::item(dispatch.outbox_id(), part.lane.clone(), part.message.to_string(), &payload)
        .map_err(|error| HubError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_claims_is_published_again_after_one_minute_and_ten_at_most() {
        let waits: Vec<_> = (0..6).map(|n| repeat_after_ms(n) / 1_000).collect();
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        assert_eq!(repeat_after_ms(i64::MAX), REPEAT_MS_MAX);
    }
}
