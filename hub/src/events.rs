//! Reading the one numbered log.

use loket_protocol::event::Event;
use loket_protocol::ids::EventId;

use crate::error::HubError;
use crate::hub::Hub;
use crate::requests::{EVENTS_PAGE_MAX, EventFilter};
use crate::store::log;

impl Hub {
    /// Entries after a log seq, ascending, at most [`EVENTS_PAGE_MAX`]. Only numbered entries are
    /// seen, so that a cursor never runs over one that is numbered later.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, HubError> {
        let limit = filter.limit.clamp(1, EVENTS_PAGE_MAX);
        let mut reader = self.inner().store.read().await?;
        Ok(log::after(&mut reader, filter.after, &filter.types, limit).await?)
    }

    /// A numbered entry by its id.
    pub async fn event(&self, id: EventId) -> Result<Event, HubError> {
        let mut reader = self.inner().store.read().await?;
        log::by_id(&mut reader, id).await?.ok_or(HubError::NotFound("event"))
    }

    /// The highest log seq that was given, and the log's epoch, which is part of every cursor.
    pub async fn log_head(&self) -> Result<(i64, String), HubError> {
        let inner = self.inner();
        let mut reader = inner.store.read().await?;
        Ok((log::head(&mut reader).await?, inner.log_epoch.clone()))
    }
}
