//! Reading the one numbered log.

use loket_protocol::event::Event;
use loket_protocol::ids::{EventId, ThreadId};

use crate::error::HubError;
use crate::hub::Hub;
use crate::requests::{EVENTS_PAGE_MAX, EventFilter, PAGE_MAX, Page};
use crate::store::{log, threads};

impl Hub {
    /// Entries after a log seq, ascending, at most [`EVENTS_PAGE_MAX`]. Only numbered entries are
    /// seen, so that a cursor never runs over one that is numbered later.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, HubError> {
        let limit = filter.limit.clamp(1, EVENTS_PAGE_MAX);
        let mut reader = self.inner().store.read().await?;
        Ok(log::after(&mut reader, filter.after, &filter.types, limit).await?)
    }

    /// What happened to a thread besides its messages: numbered entries between two numbers of its
    /// log, both left out, ascending, at most [`PAGE_MAX`]. The cursor is the `after` to go on with.
    pub async fn thread_events(
        &self,
        thread: ThreadId,
        after: i64,
        before: i64,
        limit: u32,
    ) -> Result<Page<Event>, HubError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut reader = self.inner().store.read().await?;
        if threads::row(&mut reader, thread).await?.is_none() {
            return Err(HubError::NotFound("thread"));
        }
        let mut items = log::of_thread(&mut reader, thread, after, before, limit + 1).await?;
        let kept = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > kept;
        items.truncate(kept);
        let last = items.last().and_then(|event| event.thread).map(|place| place.seq);
        Ok(Page { items, next_cursor: last.filter(|_| more).map(|seq| seq.to_string()) })
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
