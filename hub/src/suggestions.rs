//! Who might be the same person: equal data that nobody has proven. It is shown to agents with what it rests
//! on, and never joins anybody, opens no history and addresses nothing (`security` VI4).

use std::collections::BTreeMap;

use loket_protocol::asks::WebchatReply;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{ClaimKind, Evidence, Handle, HandleKind, Suggestion};
use loket_protocol::ids::{ContactId, VisitorId};

use crate::requests::Page;
use crate::store::{claims, joins, threads, visitors};
use crate::{Hub, HubError};

/// The most values that two contacts have in common, over all suggestions of one.
const ALIKE_MAX: u32 = 100;
/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 80;
/// The longest mail address (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// How many digits a telephone number has (E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 6..=15;

/// A value as it is kept and compared; `None` when it is none of its kind.
fn told(kind: ClaimKind, text: &str) -> Option<String> {
    let text = text.trim();
    match kind {
        ClaimKind::Name => {
            let fits = (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.contains('\0');
            fits.then(|| text.to_owned())
        }
        ClaimKind::Email => {
            let (local, host) = text.split_once('@')?;
            let plain = text.bytes().all(|b| b.is_ascii_graphic()) && text.len() <= EMAIL_BYTES_MAX;
            let fits = plain && !local.is_empty() && host.contains('.') && !host.contains('@');
            fits.then(|| text.to_ascii_lowercase())
        }
        ClaimKind::Phone => {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || b" +-().".contains(&b));
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let digits = digits.strip_prefix("00").unwrap_or(&digits);
            (plain && PHONE_DIGITS.contains(&digits.len())).then(|| digits.to_owned())
        }
    }
}

impl Hub {
    /// Contacts that might be the same person as this one, each with what they have in common.
    pub async fn suggestions(&self, contact: ContactId) -> Result<Page<Suggestion>, HubError> {
        let inner = self.inner();
        let mut reader = inner.store.read().await?;
        let thread =
            joins::thread_of_contact(&mut reader, contact).await?.ok_or(HubError::NotFound("contact"))?;
        let row = threads::row(&mut reader, thread).await?.ok_or(HubError::NotFound("contact"))?;
        let mut by_other: BTreeMap<ContactId, Vec<Evidence>> = BTreeMap::new();
        for alike in claims::alike(&mut reader, row.contact_id, ALIKE_MAX).await? {
            by_other.entry(alike.other).or_default().push(Evidence {
                kind: alike.kind,
                value: alike.value,
                proven_here: alike.proven_here,
                proven_there: alike.proven_there,
            });
        }
        let ids: Vec<ContactId> = by_other.keys().copied().collect();
        let mut contacts = inner.contact_views(&mut reader, &ids).await?;
        let items = by_other
            .into_iter()
            .filter_map(|(other, evidence)| Some(Suggestion { contact: contacts.remove(&other)?, evidence }))
            .collect();
        Ok(Page { items, next_cursor: None })
    }

    /// Keeps what a visitor says of themselves. Nothing is proven by it.
    pub(crate) async fn keep_claims(
        &self,
        site: &ChannelAccount,
        visitor: VisitorId,
        claimed: &[(ClaimKind, Option<String>)],
    ) -> Result<WebchatReply, HubError> {
        let mut kept = Vec::new();
        for (kind, text) in claimed {
            let Some(text) = text else { continue };
            let Some(value) = told(*kind, text) else {
                return Ok(WebchatReply::BadClaim { field: kind.as_str().to_owned() });
            };
            kept.push((*kind, value));
        }
        let mut tx = self.inner().store.begin().await?;
        if !visitors::is_known(&mut tx, &site.account, visitor).await? {
            return Ok(WebchatReply::Unknown);
        }
        let handle = Handle::new(HandleKind::Visitor, visitor.to_string());
        for (kind, value) in kept {
            claims::set(&mut tx, site, &handle, kind, &value).await?;
        }
        tx.commit().await?;
        Ok(WebchatReply::Claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_in_one_spelling_or_refused() {
        for (kind, text, kept) in [
            (ClaimKind::Email, " Anna@Shop.Example ", Some("anna@shop.example")),
            (ClaimKind::Email, "anna@shop", None),
            (ClaimKind::Email, "a b@shop.example", None),
            (ClaimKind::Email, "a@b@shop.example", None),
            (ClaimKind::Phone, "+31 6 0000-0001", Some("31600000001")),
            (ClaimKind::Phone, "0031600000001", Some("31600000001")),
            (ClaimKind::Phone, "12345", None),
            (ClaimKind::Phone, "call me", None),
            (ClaimKind::Name, " Anna ", Some("Anna")),
            (ClaimKind::Name, "", None),
        ] {
            assert_eq!(told(kind, text).as_deref(), kept, "{text}");
        }
    }
}
