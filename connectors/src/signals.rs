//! Read marks and typing for providers: questions of the hub, answered best effort.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use loket_backbone::bus::{Lease, Wire};
use loket_backbone::tasks::Tasks;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::topics::SIGNALS;
use tokio::sync::Semaphore;

use crate::channel::Channel;

/// How many signals are under way at once; one more is not passed on (typing is shed first,
/// `reliability-contract` §8).
const SIGNALS_MAX: usize = 64;
/// How many are taken at a time.
const TAKE_MAX: usize = 16;
/// A sign that takes longer is worth nothing.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait when the bus gives no questions.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Starts answering.
pub(crate) fn start(channels: &[(&'static str, Arc<dyn Channel>)], wire: Wire, tasks: &Tasks) {
    let channels: Arc<HashMap<_, _>> = Arc::new(channels.iter().cloned().collect());
    let own = tasks.clone();
    tasks.spawn("signals", async move {
        let stop = own.stop_sign();
        let room = Arc::new(Semaphore::new(SIGNALS_MAX));
        loop {
            let questions = tokio::select! {
                () = stop.cancelled() => return,
                questions = wire.questions(&SIGNALS, TAKE_MAX) => questions,
            };
            let questions = match questions {
                Ok(questions) => questions,
                Err(error) => {
                    tracing::warn!(%error, "no signals can be taken; trying again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(AGAIN_AFTER) => continue,
                    }
                }
            };
            for question in questions {
                // A question that is dropped fails at its asker, who shrugs.
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                let channels = Arc::clone(&channels);
                own.spawn("signal", async move {
                    answer(&channels, question).await;
                    drop(permit);
                });
            }
        }
    });
}

async fn answer(channels: &HashMap<&'static str, Arc<dyn Channel>>, question: Box<dyn Lease>) {
    let reply = match Wire::read::<Signal>(question.as_ref()) {
        Ok(signal) => pass_on(channels, &signal).await,
        Err(error) => {
            tracing::warn!(%error, "a signal cannot be read");
            SignalReply::NotDone
        }
    };
    if let Err(error) = Wire::reply(question, &reply).await {
        tracing::debug!(%error, "the answer to a signal did not arrive");
    }
}

async fn pass_on(channels: &HashMap<&'static str, Arc<dyn Channel>>, signal: &Signal) -> SignalReply {
    let (Signal::MarkRead { channel: account, .. } | Signal::Typing { channel: account, .. }) = signal;
    let Some(channel) = channels.get(account.kind.as_str()) else { return SignalReply::NotDone };
    let passing = AssertUnwindSafe(channel.signal(signal)).catch_unwind();
    let reply = tokio::time::timeout(SIGNAL_DEADLINE, passing).await;
    let reply = reply.map_or(SignalReply::NotDone, |caught| caught.unwrap_or(SignalReply::NotDone));
    let outcome = if reply == SignalReply::Done { "done" } else { "not_done" };
    metrics::counter!("loket_signals_total", "channel" => account.kind.to_string(), "outcome" => outcome)
        .increment(1);
    reply
}
