//! Proofs that two contacts are one person: codes that are carried from one channel to another, and what a
//! platform or a site vouches for. What is proven is noted with what proves it, and joined right after in a
//! transaction of its own, which locks both threads in their order (`joining.rs`).
//!
//! Equal data that nobody has proven joins nobody (`security` VI4, VI8).

use std::fmt::Write as _;
use std::time::Duration;

use loket_backbone::random;
use loket_protocol::asks::WebchatReply;
use loket_protocol::channel::{AccountSettings, ChannelAccount};
use loket_protocol::contact::LinkRequest;
use loket_protocol::ids::{ContactId, IdentityId, LinkRequestId, VisitorId};
use loket_protocol::inbound::Fact;
use loket_protocol::message::{Author, AuthorType, Content};
use tokio_util::sync::CancellationToken;

use crate::idempotency::Begun;
use crate::joining::{self, Ground, Joined};
use crate::requests::{Idempotency, NewLink, Principal, Written};
use crate::store::links::{self, Due};
use crate::store::{StoreError, Tx, joins, threads, visitors};
use crate::{Hub, HubError, tokens};

/// How long a code counts (`design.md` §5).
const CODE_TIME_MS: i64 = 15 * 60 * 1000;
/// How long a visitor may see the answers on the other channel at the most; the end of the case ends it
/// sooner.
const VIEW_TIME_MS: i64 = 24 * 60 * 60 * 1000;
/// What a code begins with, by which it is found in a message.
const CODE_PREFIX: &str = "loket-";
/// The digits behind it: 128 bits (`security` Z6).
const CODE_DIGITS: usize = 32;
/// How often it is looked for joins that are due, when nobody says so.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many joins are taken at once.
const DUE_MAX: u32 = 50;

/// The words in front of a code, by language; Dutch unless another is asked for.
fn words(language: Option<&str>, code: &str) -> String {
    match language {
        Some("en") => format!("Hello! I would like to go on here. My code: {code}"),
        _ => format!("Hallo! Ik ga hier graag verder. Mijn code: {code}"),
    }
}

/// Percent-encodes all but what every address may hold.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // A text takes whatever is written to it.
            let _written = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The codes in what a customer sent, each once: in their words, and behind the link that they followed.
pub(crate) fn codes_in(fact: &Fact) -> Vec<String> {
    let content = match fact {
        Fact::Message(said) => &said.content,
        Fact::Referral(fact) => return fact.referral.reference.as_deref().map(codes_of).unwrap_or_default(),
        _ => return Vec::new(),
    };
    let Content { text, referral, .. } = content;
    let link = referral.as_ref().and_then(|referral| referral.reference.as_deref());
    let mut codes: Vec<String> = [text.as_deref(), link].into_iter().flatten().flat_map(codes_of).collect();
    codes.dedup();
    codes
}

fn codes_of(text: &str) -> Vec<String> {
    let lower = text.to_ascii_lowercase();
    let mut codes = Vec::new();
    for (at, _) in lower.match_indices(CODE_PREFIX) {
        let digits = lower.get(at + CODE_PREFIX.len()..at + CODE_PREFIX.len() + CODE_DIGITS);
        codes
            .extend(digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned));
    }
    codes
}

/// A code as it is kept.
pub(crate) fn hash_of(digits: &str) -> String {
    tokens::sha256(&format!("{CODE_PREFIX}{digits}"))
}

impl Hub {
    /// Makes an address with a one-time code: whoever sends the code from there is this contact.
    pub async fn request_link(
        &self,
        by: &Principal,
        contact: ContactId,
        new: NewLink,
        idem: Option<Idempotency>,
    ) -> Result<Written<LinkRequest>, HubError> {
        let account = self.linkable(&new.channel, new.account.as_deref())?;
        let mut tx = self.inner().store.begin().await?;
        let once = match self.begin_once(&mut tx, &by.id(), idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let thread =
            joins::thread_of_contact(&mut tx, contact).await?.ok_or(HubError::NotFound("contact"))?;
        let row = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("contact"))?;
        let link = write(&mut tx, account, row.contact_id, None, new.language.as_deref()).await?;
        self.done(&mut tx, once, &link).await?;
        tx.commit().await?;
        count(&link.channel);
        Ok(Written::Done(link))
    }

    /// The same for a visitor who wants to go on elsewhere; they must have written something.
    pub(crate) async fn link_of_visitor(
        &self,
        site: &ChannelAccount,
        visitor: VisitorId,
        channel: &str,
        language: Option<&str>,
    ) -> Result<WebchatReply, HubError> {
        let Ok(account) = self.linkable(channel, None) else { return Ok(WebchatReply::NoLink) };
        let mut tx = self.inner().store.begin().await?;
        let Some(place) = visitors::place(&mut tx, site, visitor).await? else {
            return Ok(WebchatReply::NoLink);
        };
        let link = write(&mut tx, account, place.contact, Some(place.identity), language).await?;
        tx.commit().await?;
        count(&link.channel);
        Ok(WebchatReply::Link { address: link.address, expires_at: link.expires_at })
    }

    /// The channel account that a code can be carried to.
    fn linkable(&self, kind: &str, account: Option<&str>) -> Result<&AccountSettings, HubError> {
        let accounts = self.inner().accounts.values();
        let fits = |own: &&AccountSettings| {
            own.channel.kind.as_str() == kind
                && own.link.is_some()
                && account.is_none_or(|account| own.channel.account == account)
        };
        accounts.filter(fits).min_by_key(|own| &own.name).ok_or_else(|| {
            HubError::invalid(
                "channel",
                "there is no account of this channel that a link can lead to; for WhatsApp set \
                 whatsapp.accounts.NAME.phone_number",
            )
        })
    }

    /// Joins what was proven, until told to stop.
    pub(crate) async fn join_what_is_due(self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            match self.join_due().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(%error, "what was proven to be one contact is joined later");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inner().joins.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Joins what is due now.
    pub(crate) async fn join_due(&self) -> Result<(), HubError> {
        let mut reader = self.inner().store.read().await?;
        let due = links::due(&mut reader, DUE_MAX).await?;
        drop(reader);
        for due in due {
            match self.join_one(&due).await {
                Ok(()) => {}
                // Its turn comes again, and the others do not wait for it.
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn join_one(&self, due: &Due) -> Result<(), StoreError> {
        let mut tx = self.inner().store.begin_for_worker().await?;
        if !links::take(&mut tx, due.row_id).await? {
            return Ok(());
        }
        let one = joins::thread_of_contact(&mut tx, due.contact).await?;
        let other = links::thread_of(&mut tx, due.identity).await?;
        let (Some(one), Some(other)) = (one, other) else { return tx.commit().await };
        let by = Author { kind: AuthorType::System, id: None, name: None };
        let ground = Ground { proof: due.proof, evidence: due.evidence.clone(), by, why: None };
        let joined = joining::join(&mut tx, [one, other], None, &ground).await?;
        if matches!(joined, Joined::TooMany) {
            tracing::warn!(contact.id = %due.contact, "two contacts proven to be one are too large to be joined");
        }
        if let (Some(viewer), Joined::Now(_) | Joined::Before) = (due.viewer, &joined) {
            let until = tx.now().plus_millis(VIEW_TIME_MS);
            links::let_see(&mut tx, viewer, due.identity, until).await?;
        }
        tx.commit().await?;
        if let Joined::Now(merge) = &joined {
            joining::count("merged", merge);
        }
        Ok(())
    }
}

async fn write(
    tx: &mut Tx,
    account: &AccountSettings,
    contact: ContactId,
    visitor: Option<IdentityId>,
    language: Option<&str>,
) -> Result<LinkRequest, HubError> {
    let form = account.link.as_ref().ok_or_else(|| HubError::invalid("channel", "it takes no links"))?;
    let digits = random::hex::<16>();
    let code = format!("{CODE_PREFIX}{digits}");
    let carried = if form.carries_words { encoded(&words(language, &code)) } else { code.clone() };
    let id: LinkRequestId = tx.id();
    let expires_at = tx.now().plus_millis(CODE_TIME_MS);
    let hash = hash_of(&digits);
    let channel = &account.channel;
    links::make(tx, &links::NewLink { id, code_hash: &hash, contact, visitor, channel, expires_at }).await?;
    Ok(LinkRequest {
        id,
        contact_id: contact,
        channel: channel.clone(),
        address: format!("{}{carried}", form.before),
        code,
        expires_at,
    })
}

fn count(channel: &ChannelAccount) {
    metrics::counter!("loket_links_requested_total", "channel" => channel.kind.to_string()).increment(1);
}

#[cfg(test)]
mod tests {
    use loket_protocol::inbound::MessageFact;
    use loket_protocol::message::Referral;

    use super::*;

    #[test]
    fn a_code_is_found_in_words_and_behind_a_link() {
        let digits = "0123456789abcdef0123456789abcdef";
        let said = |text: &str| {
            let content = Content::text(text);
            codes_in(&Fact::Message(MessageFact { content, ..MessageFact::default() }))
        };
        let code = format!("loket-{digits}");
        for text in [words(None, &code), words(Some("en"), &code), code.to_uppercase(), format!("é{code}é")]
        {
            assert_eq!(said(&text), [digits], "{text}");
        }
        for text in ["", "loket-", "loket-0123", "loket-0123456789abcdef0123456789abcdeg", "léket"] {
            assert!(said(text).is_empty(), "{text}");
        }
        let referral = Referral { reference: Some(code.clone()), ..Referral::default() };
        let content = Content { referral: Some(referral), ..Content::text("Hoi") };
        let fact = Fact::Message(MessageFact { content, ..MessageFact::default() });
        assert_eq!(codes_in(&fact), [digits]);
        assert!(codes_in(&Fact::Echo(MessageFact::default())).is_empty());
    }

    #[test]
    fn an_address_holds_nothing_that_breaks_it() {
        assert_eq!(encoded("Hé! a&b=1"), "H%C3%A9%21%20a%26b%3D1");
        assert_eq!(encoded("az-AZ_09.~"), "az-AZ_09.~");
    }
}
