//! Contacts as the API shows them.

use std::collections::HashMap;

use loket_protocol::contact::{Contact, Identity};
use loket_protocol::ids::ContactId;
use loket_protocol::time::Timestamp;

use crate::error::HubError;
use crate::hub::{Hub, Inner};
use crate::store::contacts::{self, ContactRow, IdentityRow};
use crate::store::{Conn, StoreError, claims, joins, threads};

impl Hub {
    /// A contact with all their identities; by the id of one that was merged away the survivor.
    pub async fn contact(&self, id: ContactId) -> Result<Contact, HubError> {
        let inner = self.inner();
        let mut reader = inner.store.read().await?;
        let thread = joins::thread_of_contact(&mut reader, id).await?.ok_or(HubError::NotFound("contact"))?;
        let row = threads::row(&mut reader, thread).await?.ok_or(HubError::NotFound("contact"))?;
        let id = row.contact_id;
        let mut found = inner.contact_views(&mut reader, &[id]).await?;
        let mut contact = found.remove(&id).ok_or(HubError::NotFound("contact"))?;
        for (identity, claim) in claims::of_contact(&mut reader, id).await? {
            let own = contact.identities.iter_mut().find(|own| own.id == identity);
            if let Some(own) = own {
                own.claims.push(claim);
            }
        }
        Ok(contact)
    }
}

impl Inner {
    /// Contacts by their ids; at most `ROWS_MAX`.
    pub(crate) async fn contact_views(
        &self,
        conn: &mut Conn,
        ids: &[ContactId],
    ) -> Result<HashMap<ContactId, Contact>, StoreError> {
        let rows = contacts::contacts(conn, ids).await?;
        let mut by_contact: HashMap<ContactId, Vec<IdentityRow>> = HashMap::new();
        for identity in contacts::identities_of(conn, ids).await? {
            by_contact.entry(identity.contact_id).or_default().push(identity);
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let identities = by_contact.remove(&row.id).unwrap_or_default();
                (row.id, self.contact_view(&row, identities))
            })
            .collect())
    }

    fn contact_view(&self, row: &ContactRow, identities: Vec<IdentityRow>) -> Contact {
        let now = self.clock.now();
        Contact {
            id: row.id,
            name: contacts::shown_name(row, &identities),
            created_at: row.created_at,
            identities: identities.into_iter().map(|identity| self.identity_view(identity, now)).collect(),
        }
    }

    fn identity_view(&self, row: IdentityRow, now: Timestamp) -> Identity {
        let window_closes_at = self.window_closes_at(&row).filter(|closes_at| *closes_at > now);
        Identity {
            id: row.id,
            contact_id: row.contact_id,
            channel: row.channel,
            handles: row.handles,
            name: row.name,
            window_closes_at,
            last_message_at: row.last_message_at,
            claims: Vec::new(),
        }
    }

    /// Until when anything may be sent to an identity, past or not; `None` where its channel has no
    /// window, where the contact never opened one, and where the channel account is not configured.
    pub(crate) fn window_closes_at(&self, identity: &IdentityRow) -> Option<Timestamp> {
        let window_ms = self.accounts.get(&identity.channel)?.capabilities.window_ms?;
        Some(identity.window_opened_at?.plus_millis(window_ms))
    }
}
