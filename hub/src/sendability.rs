//! What may be said to a contact now, on each of their identities, and why not more.

use loket_protocol::channel::{ChannelAccount, ChannelHealth};
use loket_protocol::ids::{IdentityId, ThreadId};
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::replies::in_order;
use crate::replies::sendable::{self, Refusal, Standing};
use crate::requests::Principal;
use crate::store::contacts::IdentityRow;
use crate::store::{channels, contacts, outbound, threads};
use crate::{Hub, HubError};

/// What an identity takes now from who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaySend {
    /// Everything that its channel can do.
    Anything,
    /// Everything, because a person wrote it: Messenger's human-agent tag goes with it.
    HumanAgent,
    /// Approved templates only.
    Template,
    /// Nothing.
    Nothing,
}

/// What may be said to a contact now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sendability {
    /// Where a text to `auto` would go; nowhere when no identity takes one.
    pub auto: Option<IdentityId>,
    /// Every identity of the contact, in the order in which `auto` would try them.
    pub identities: Vec<IdentitySendability>,
}

/// What may be said to an identity now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentitySendability {
    /// The identity.
    pub identity_id: IdentityId,
    /// On which channel account.
    pub channel: ChannelAccount,
    /// What it takes from who asks.
    pub may_send: MaySend,
    /// Until when that holds; absent while nothing ends it.
    pub until: Option<Timestamp>,
    /// The content types that may be sent now.
    pub content_types: Vec<String>,
    /// How its channel account is doing: with `reauthorise` a reply is accepted and held.
    pub health: ChannelHealth,
    /// Why not everything may be sent: a stable code, the same as that of a refused reply.
    pub code: Option<String>,
    /// The same in a sentence that says what to do.
    pub sentence: Option<String>,
}

impl Hub {
    /// What may be sent to each identity of a thread's contact right now by who asks, until when, and
    /// why not more. It is the decision by which [`Hub::reply`] refuses.
    pub async fn sendability(&self, by: &Principal, thread: ThreadId) -> Result<Sendability, HubError> {
        let inner = self.inner();
        let mut reader = inner.store.read().await?;
        let row = threads::row(&mut reader, thread).await?.ok_or(HubError::NotFound("thread"))?;
        let identities = contacts::identities_of(&mut reader, &[row.contact_id]).await?;
        let last = outbound::last_heard(&mut reader, row.id).await?;
        let known = channels::all(&mut reader).await?;
        drop(reader);
        let health_of = |identity: &IdentityRow| {
            let row = known.iter().find(|row| row.channel == identity.channel);
            row.map_or(ChannelHealth::Connected, |row| row.health)
        };
        let identities: Vec<_> = in_order(&identities, None, last)
            .into_iter()
            .map(|identity| self.told(by, identity, health_of(identity)))
            .collect();
        let takes_text =
            |told: &&IdentitySendability| matches!(told.may_send, MaySend::Anything | MaySend::HumanAgent);
        Ok(Sendability { auto: identities.iter().find(takes_text).map(|told| told.identity_id), identities })
    }

    fn told(&self, by: &Principal, identity: &IdentityRow, health: ChannelHealth) -> IdentitySendability {
        let name = identity.channel.to_string();
        let to = self.recipient(&name, identity);
        let Standing { may_send, until, why } =
            sendable::standing(&to, by.agent().is_some(), self.inner().clock.now());
        let mut content_types = to.capabilities.map(|can| can.content_types.clone()).unwrap_or_default();
        content_types.retain(|kind| match may_send {
            MaySend::Anything | MaySend::HumanAgent => true,
            MaySend::Template => kind == "template",
            MaySend::Nothing => false,
        });
        let (code, sentence) = why.map(|Refusal { code, sentence }| (code.to_owned(), sentence)).unzip();
        IdentitySendability {
            identity_id: identity.id,
            channel: identity.channel.clone(),
            may_send,
            until,
            content_types,
            health,
            code,
            sentence,
        }
    }
}
