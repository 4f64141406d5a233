//! Threads and their messages as the API shows them.

use std::collections::HashMap;

use loket_protocol::ids::{MessageId, ThreadId};
use loket_protocol::message::Message;
use loket_protocol::thread::Thread;

use crate::error::HubError;
use crate::hub::{Hub, Inner};
use crate::requests::{MessagesFrom, PAGE_MAX, Page, Principal, ThreadFilter};
use crate::store::threads::{self, Before, ThreadRow};
use crate::store::{Conn, StoreError, messages};

impl Hub {
    /// Threads in which something was said, the newest message first, a page of at most [`PAGE_MAX`].
    /// `unread` is counted for who asks.
    pub async fn threads(
        &self,
        by: &Principal,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Thread>, HubError> {
        let before = cursor.map(before_of).transpose()?;
        let limit = limit.clamp(1, PAGE_MAX);
        let inner = self.inner();
        let mut reader = inner.store.read().await?;
        let mut found = threads::list(&mut reader, filter, &by.id(), before, limit + 1).await?;
        let more = found.len() > wanted(limit);
        found.truncate(wanted(limit));
        let next_cursor = found
            .last()
            .filter(|_| more)
            .map(|last| format!("{}.{}", last.last_message_at.as_millis(), last.id));
        let items = inner.thread_views(&mut reader, found, &by.id()).await?;
        Ok(Page { items, next_cursor })
    }

    /// A thread with its contact, the reply windows and the last message.
    pub async fn thread(&self, by: &Principal, id: ThreadId) -> Result<Thread, HubError> {
        let inner = self.inner();
        let mut reader = inner.store.read().await?;
        inner.thread_view(&mut reader, id, &by.id()).await?.ok_or(HubError::NotFound("thread"))
    }

    /// Messages of a thread, ascending, at most [`PAGE_MAX`]. The cursor is the seq to go on from in
    /// the same direction; absent when there is no more.
    pub async fn messages(
        &self,
        thread: ThreadId,
        from: MessagesFrom,
        limit: u32,
    ) -> Result<Page<Message>, HubError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut reader = self.inner().store.read().await?;
        let thread = threads::row(&mut reader, thread).await?.ok_or(HubError::NotFound("thread"))?.id;
        let mut items = match from {
            MessagesFrom::Last => messages::before(&mut reader, thread, i64::MAX, limit + 1).await?,
            MessagesFrom::Before(seq) => messages::before(&mut reader, thread, seq, limit + 1).await?,
            MessagesFrom::After(seq) => messages::after(&mut reader, thread, seq, limit + 1).await?,
        };
        let surplus = items.len().saturating_sub(wanted(limit));
        let edge = if matches!(from, MessagesFrom::After(_)) {
            items.truncate(wanted(limit));
            items.last()
        } else {
            items.drain(..surplus);
            items.first()
        };
        let next_cursor = edge.filter(|_| surplus > 0).map(|message| message.seq.to_string());
        Ok(Page { items, next_cursor })
    }
}

impl Inner {
    /// A thread as the API shows it; `reader` is the id of the principal whose read mark counts.
    pub(crate) async fn thread_view(
        &self,
        conn: &mut Conn,
        id: ThreadId,
        reader: &str,
    ) -> Result<Option<Thread>, StoreError> {
        let Some(row) = threads::row(conn, id).await? else { return Ok(None) };
        Ok(self.thread_views(conn, vec![row], reader).await?.pop())
    }

    async fn thread_views(
        &self,
        conn: &mut Conn,
        rows: Vec<ThreadRow>,
        reader: &str,
    ) -> Result<Vec<Thread>, StoreError> {
        let contacts: Vec<_> = rows.iter().map(|row| row.contact_id).collect();
        let mut contacts = self.contact_views(conn, &contacts).await?;
        let last: Vec<MessageId> = rows.iter().filter_map(|row| row.last_message_id).collect();
        let mut last: HashMap<MessageId, Message> =
            messages::by_ids(conn, &last).await?.into_iter().map(|message| (message.id, message)).collect();
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let contact = contacts
                .remove(&row.contact_id)
                .ok_or_else(|| StoreError::Damaged(format!("thread {} has no contact", row.id)))?;
            views.push(Thread {
                id: row.id,
                contact,
                status: row.status,
                case_id: row.case_id,
                assignee: row.assignee,
                control: row.control,
                waiting_since: row.waiting_since,
                seq: row.seq,
                last_message: row.last_message_id.and_then(|id| last.remove(&id)),
                unread: threads::unread(conn, row.id, reader).await?,
                last_message_at: (row.last_message_at.as_millis() > 0).then_some(row.last_message_at),
                created_at: row.created_at,
                version: row.version,
            });
        }
        Ok(views)
    }
}

fn wanted(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn before_of(cursor: &str) -> Result<Before, HubError> {
    let read = || {
        let (at, id) = cursor.split_once('.')?;
        Some(Before { at: at.parse().ok()?, id: id.parse().ok()? })
    };
    read().ok_or_else(|| HubError::invalid("cursor", "take it unchanged from next_cursor of the page before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_or_refused() {
        let id = "thr_01M7YQ1WE08E6Q4V9T3B5N7K1Z";
        let before = before_of(&format!("1795253400000.{id}")).unwrap();
        assert_eq!((before.at, before.id.to_string().as_str()), (1_795_253_400_000, id));
        for bad in ["", ".", "5", "x.y", "5.thr_1", &format!("{id}.5")] {
            assert!(before_of(bad).is_err(), "{bad}");
        }
    }
}
