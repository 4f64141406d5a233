//! Channel accounts as the API and the operator see them, and messages whose fate nobody knows.

use loket_protocol::channel::{ChannelAccount, ChannelHealth};
use loket_protocol::ids::MessageId;
use loket_protocol::outbound::Dispatch;
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agents::note;
use crate::delivery::{refresh, settle_sent};
use crate::requests::{ChannelState, Principal};
use crate::standing::{PartState, Standing};
use crate::store::channels;
use crate::store::outbound::{self, PartError};
use crate::{Hub, HubError};

/// The most unconfirmed messages of one answer.
const UNCONFIRMED_MAX: u32 = 200;

/// A message whose answer was lost and that nothing has settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnconfirmedMessage {
    /// The message.
    pub message_id: MessageId,
    /// Which of its provider messages, from 0.
    pub part: u32,
    /// On which channel account.
    pub channel: ChannelAccount,
    /// When it was claimed.
    pub claimed_at: Option<Timestamp>,
    /// It waits for a person; before that, a status or an echo may still settle it.
    pub held: bool,
    /// How its answer was lost.
    pub why: Option<String>,
}

/// What a person decides about an unconfirmed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It arrived, and this is the provider's id.
    Sent(String),
    /// Send it again, although it may arrive twice.
    Resend,
    /// It did not arrive and will not be sent.
    Failed,
}

impl Hub {
    /// All configured channel accounts with their health, by name.
    pub async fn channels(&self) -> Result<Vec<ChannelState>, HubError> {
        let mut reader = self.inner().store.read().await?;
        let known = channels::all(&mut reader).await?;
        let counts = outbound::counts(&mut reader).await?;
        drop(reader);
        let mut states: Vec<ChannelState> = self
            .inner()
            .accounts
            .values()
            .map(|settings| {
                let row = known.iter().find(|row| row.channel == settings.channel);
                let count = counts.iter().find(|(channel, ..)| *channel == settings.channel);
                ChannelState {
                    settings: settings.clone(),
                    health: row.map_or(ChannelHealth::Connected, |row| row.health),
                    sentence: row.and_then(|row| row.sentence.clone()),
                    since: row.map(|row| row.since),
                    last_inbound_at: row.and_then(|row| row.last_inbound_at),
                    last_sent_at: row.and_then(|row| row.last_sent_at),
                    queued: count.map_or(0, |(_, queued, _)| *queued),
                    unconfirmed: count.map_or(0, |(_, _, unconfirmed)| *unconfirmed),
                }
            })
            .collect();
        states.sort_by(|a, b| a.settings.channel.cmp(&b.settings.channel));
        Ok(states)
    }

    /// Messages whose answer was lost and that nothing has settled, oldest first, at most 200.
    pub async fn unconfirmed(&self) -> Result<Vec<UnconfirmedMessage>, HubError> {
        let mut reader = self.inner().store.read().await?;
        let found = outbound::unconfirmed(&mut reader, UNCONFIRMED_MAX).await?;
        Ok(found
            .into_iter()
            .map(|part| UnconfirmedMessage {
                message_id: part.message,
                part: part.index,
                channel: part.channel,
                claimed_at: part.claimed_at,
                held: part.due_at >= outbound::held(),
                why: part.error.map(|error| error.sentence),
            })
            .collect())
    }

    /// Settles the unconfirmed parts of a message as a person decided; written down with who. A
    /// provider's id settles the first of them only.
    pub async fn resolve_unconfirmed(
        &self,
        by: Option<&Principal>,
        message: MessageId,
        decision: Decision,
    ) -> Result<(), HubError> {
        let mut tx = self.inner().store.begin().await?;
        let mut open = outbound::of_message(&mut tx, message).await?;
        if open.is_empty() {
            return Err(HubError::NotFound("message"));
        }
        open.retain(|part| part.standing.state == PartState::Unconfirmed);
        if open.is_empty() {
            return Err(HubError::Conflict("this message is not unconfirmed".to_owned()));
        }
        let now = tx.now();
        let act = match &decision {
            Decision::Sent(_) => "outbound.sent",
            Decision::Resend => "outbound.resent",
            Decision::Failed => "outbound.failed",
        };
        note(&mut tx, by, act, &message.to_string()).await?;
        for mut part in open {
            let was = part.standing.clone();
            match &decision {
                Decision::Sent(external_id) => {
                    if external_id.is_empty() || external_id.len() > 512 {
                        return Err(HubError::invalid("external_id", "the provider's id, 1 to 512 bytes"));
                    }
                    let number = was.number;
                    let dispatch = Dispatch { message_id: message, part: part.index, number };
                    let at = part.claimed_at.unwrap_or(now);
                    settle_sent(&mut tx, &dispatch, external_id, at).await?;
                    break;
                }
                Decision::Resend => {
                    let Some(again) = was.sent_again() else { continue };
                    part.standing = again;
                    part.due_at = now;
                    part.published_times = 0;
                }
                Decision::Failed => {
                    part.standing = Standing { state: PartState::Failed, ..was.clone() };
                    part.error = Some(PartError {
                        at: now,
                        class: None,
                        code: None,
                        subcode: None,
                        sentence: "It was decided that this message did not arrive.".to_owned(),
                    });
                }
            }
            outbound::save(&mut tx, &part, &was).await?;
        }
        refresh(&mut tx, message).await?;
        tx.commit().await?;
        self.kick_everywhere().await;
        Ok(())
    }
}
