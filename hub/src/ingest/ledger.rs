//! What the bus asks before it waits for an item that is missing: is it done already?

use async_trait::async_trait;
use loket_backbone::bus::Ledger;

use crate::store::{Store, StoreError, stamps};

/// The store, as the bus asks it.
pub(super) struct StoreLedger(pub(super) Store);

#[async_trait]
impl Ledger for StoreLedger {
    async fn done(&self, epoch: &str, partition: u16) -> Option<Vec<(u64, u64)>> {
        let asked = async {
            let mut reader = self.0.read().await?;
            stamps::done(&mut reader, epoch, partition).await
        };
        asked
            .await
            .inspect_err(|error: &StoreError| tracing::debug!(%error, "the store cannot say what is done"))
            .ok()
    }
}
