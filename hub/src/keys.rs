//! API keys for programs (`security` §2).

use loket_protocol::agent::Role;
use loket_protocol::ids::KeyId;
use serde::{Deserialize, Serialize};

use crate::agents::{note, page, shown_name};
use crate::idempotency::Begun;
use crate::requests::{ApiKey, Idempotency, NewKey, PAGE_MAX, Page, Principal, Written};
use crate::store::audit::OPERATOR;
use crate::store::keys;
use crate::{Hub, HubError, tokens};

/// The longest life of a key: a year and a day, so that "a year from now" fits.
const LIFE_MS_MAX: i64 = 366 * 24 * 3_600_000;

/// A new key, with the secret that is shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// The bearer token `lok_…`. Only its hash is stored.
    pub secret: String,
}

impl Hub {
    /// Makes a key. `by` is absent on the command line. Nobody gives more right than they have.
    pub async fn create_key(
        &self,
        by: Option<&Principal>,
        new: NewKey,
        idem: Option<Idempotency>,
    ) -> Result<Written<CreatedKey>, HubError> {
        let name = shown_name(&new.name)?;
        if by.is_some_and(|by| by.role != Role::Admin && by.role != new.role) {
            return Err(HubError::invalid("role", "a key has at most the rights of who makes it"));
        }
        let mut tx = self.inner().store.begin().await?;
        let maker = by.map_or_else(|| OPERATOR.to_owned(), Principal::id);
        let once = match self.begin_once(&mut tx, &maker, idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let now = tx.now();
        if new.expires_at <= now || new.expires_at.millis_since(now) > LIFE_MS_MAX {
            return Err(HubError::invalid("expires_at", "a moment within a year from now"));
        }
        let id: KeyId = tx.id();
        let (secret, hash) = tokens::new_key(id);
        let key = ApiKey {
            id,
            name,
            role: new.role,
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        keys::make(&mut tx, &key, &hash, by.map(Principal::id).as_deref()).await?;
        note(&mut tx, by, "key.created", &id.to_string()).await?;
        let created = CreatedKey { key, secret: secret.expose().to_owned() };
        self.done(&mut tx, once, &created).await?;
        tx.commit().await?;
        Ok(Written::Done(created))
    }

    /// All keys by id, revoked ones too, a page of at most [`PAGE_MAX`].
    pub async fn keys(&self, cursor: Option<&str>, limit: u32) -> Result<Page<ApiKey>, HubError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut reader = self.inner().store.read().await?;
        let found = keys::list(&mut reader, cursor.unwrap_or_default(), limit + 1).await?;
        Ok(page(found, limit, |key| key.id.to_string()))
    }

    /// Revokes a key at once; its sockets close. Nothing when it is revoked already.
    pub async fn revoke_key(&self, by: &Principal, id: KeyId) -> Result<(), HubError> {
        let mut tx = self.inner().store.begin().await?;
        if keys::by_id(&mut tx, id).await?.is_none() {
            return Err(HubError::NotFound("key"));
        }
        if keys::revoke(&mut tx, id).await? {
            note(&mut tx, Some(by), "key.revoked", &id.to_string()).await?;
            tx.commit().await?;
            self.ended(id.to_string()).await;
        }
        Ok(())
    }
}
