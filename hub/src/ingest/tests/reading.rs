//! What arrived, as the API shows it: pages, filters, windows.

use std::time::Duration;

use loket_protocol::agent::Role;
use loket_protocol::ids::{ContactId, EventId, ThreadId};
use loket_protocol::thread::ThreadStatus;

use super::worker::AtWork;
use super::*;
use crate::HubError;
use crate::requests::{MessagesFrom, Principal, PrincipalBy, ThreadFilter};

fn program(here: &AtWork) -> Principal {
    Principal { by: PrincipalBy::Key(here.clock.id()), role: Role::Integrator, name: "a test".into() }
}

/// Five people, of whom each wrote as often as their number says, one after another.
async fn five_people() -> AtWork {
    let here = AtWork::with_kv().await;
    for who in 1..=5 {
        let words: Vec<InboundEvent> =
            (0..who).map(|n| message(who, i64::from(n), &format!("{who}-{n}"))).collect();
        here.publish(&words).await;
        here.at_rest().await;
        here.clock.advance(Duration::from_secs(1));
    }
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_come_newest_first_in_pages_without_seam() {
    let here = five_people().await;
    let by = program(&here);
    let all = here.hub.threads(&by, &ThreadFilter::default(), None, 200).await.unwrap();
    assert_eq!(all.next_cursor, None);
    let unread: Vec<i64> = all.items.iter().map(|thread| thread.unread).collect();
    assert_eq!(unread, [5, 4, 3, 2, 1]);
    let last = all.items[0].last_message.as_ref().unwrap();
    assert_eq!(last.external_id.as_deref(), Some("5-4"));
    assert_eq!(all.items[0].contact.name.as_deref(), Some("Person 5"));
    let mut paged = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = here.hub.threads(&by, &ThreadFilter::default(), cursor.as_deref(), 2).await.unwrap();
        assert!(page.items.len() <= 2);
        paged.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, all.items);
    let refused = here.hub.threads(&by, &ThreadFilter::default(), Some("nonsense"), 2).await;
    assert!(matches!(refused, Err(HubError::Invalid { .. })));
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_what_was_asked_for() {
    let here = five_people().await;
    // Somebody who never wrote has a thread of their own, and it is not in the inbox.
    here.publish(&[event(9, 0, Fact::Optin(OptinFact { kind: "plugin".into(), ..OptinFact::default() }))])
        .await;
    // What we wrote first, elsewhere, is in the inbox and no case.
    here.publish(&[echo(8, 0, "echo")]).await;
    here.at_rest().await;
    let by = program(&here);
    let count =
        async |filter: ThreadFilter| here.hub.threads(&by, &filter, None, 200).await.unwrap().items.len();
    assert_eq!(count(ThreadFilter::default()).await, 6);
    assert_eq!(count(ThreadFilter { status: Some(ThreadStatus::Open), ..ThreadFilter::default() }).await, 5);
    assert_eq!(count(ThreadFilter { unread: true, ..ThreadFilter::default() }).await, 5);
    assert_eq!(count(ThreadFilter { assignee: Some(None), ..ThreadFilter::default() }).await, 6);
    let somebody = Some(Some(here.clock.id()));
    assert_eq!(count(ThreadFilter { assignee: somebody, ..ThreadFilter::default() }).await, 0);
    let channel = |kind: &str| Some(kind.to_owned());
    assert_eq!(count(ThreadFilter { channel: channel("whatsapp"), ..ThreadFilter::default() }).await, 6);
    assert_eq!(count(ThreadFilter { channel: channel("messenger"), ..ThreadFilter::default() }).await, 0);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_in_pages_from_either_end() {
    let here = five_people().await;
    let by = program(&here);
    let thread = here.hub.threads(&by, &ThreadFilter::default(), None, 1).await.unwrap().items.remove(0).id;
    let page = async |from, limit| {
        let page = here.hub.messages(thread, from, limit).await.unwrap();
        let seqs: Vec<i64> = page.items.iter().map(|message| message.seq).collect();
        (seqs, page.next_cursor)
    };
    assert_eq!(page(MessagesFrom::Last, 200).await, (vec![2, 3, 4, 5, 6], None));
    assert_eq!(page(MessagesFrom::Last, 2).await, (vec![5, 6], Some("5".into())));
    assert_eq!(page(MessagesFrom::Before(5), 2).await, (vec![3, 4], Some("3".into())));
    assert_eq!(page(MessagesFrom::Before(3), 2).await, (vec![2], None));
    assert_eq!(page(MessagesFrom::After(0), 2).await, (vec![2, 3], Some("3".into())));
    assert_eq!(page(MessagesFrom::After(3), 3).await, (vec![4, 5, 6], None));
    assert_eq!(page(MessagesFrom::After(99), 3).await, (vec![], None));
    let nowhere: ThreadId = here.clock.id();
    assert!(matches!(
        here.hub.messages(nowhere, MessagesFrom::Last, 5).await,
        Err(HubError::NotFound("thread"))
    ));
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_shown_while_it_is_open() {
    let here = AtWork::with_kv().await;
    let mut now = message(1, 0, "now");
    now.at = here.clock.now();
    now.received_at = now.at;
    here.publish(&[now.clone()]).await;
    here.at_rest().await;
    let by = program(&here);
    let thread = here.hub.threads(&by, &ThreadFilter::default(), None, 1).await.unwrap().items.remove(0);
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(thread.contact.identities[0].window_closes_at, Some(now.at.plus_millis(day)));
    assert_eq!(thread, here.hub.thread(&by, thread.id).await.unwrap());
    assert_eq!(thread.contact, here.hub.contact(thread.contact.id).await.unwrap());
    here.clock.advance(Duration::from_hours(24));
    assert_eq!(here.hub.contact(thread.contact.id).await.unwrap().identities[0].window_closes_at, None);
    let (nobody, nothing): (ContactId, EventId) = (here.clock.id(), here.clock.id());
    assert!(matches!(here.hub.contact(nobody).await, Err(HubError::NotFound("contact"))));
    assert!(matches!(here.hub.event(nothing).await, Err(HubError::NotFound("event"))));
    here.stop().await;
}
