//! Messages, echoes, history and marks: once, and as their authors left them.

use super::*;

#[tokio::test]
async fn a_stranger_becomes_a_contact_with_one_thread_and_a_case() {
    let here = Here::new().await;
    assert_eq!(here.take(&[message(1, 0, "a")]).await, 0);
    let shown = here.message("a").await;
    assert_eq!(shown.direction, Direction::In);
    assert_eq!(shown.content.text.as_deref(), Some("words of a"));
    assert_eq!(shown.author.name.as_deref(), Some("Person 1"));
    assert_eq!(shown.seq, 2, "the case that it opens stands before it");
    assert!(!shown.late);
    assert_eq!(here.logged(EventType::ContactCreated).await.len(), 1);
    let opened = here.logged(EventType::ThreadOpened).await;
    assert_eq!(opened.len(), 1);
    assert!(opened[0]["case_id"].as_str().unwrap().starts_with("case_"));
    let received = here.logged(EventType::MessageReceived).await;
    assert_eq!(received[0]["message"]["id"], json!(shown.id));
    assert_eq!(received[0]["conversation"]["channel"]["account"], "201");
    assert_eq!(received[0]["contact"]["id"], json!(shown.author.id));
    let identities = here.identities().await;
    assert_eq!(identities[0].window_opened_at, Some(Timestamp::from_millis(START)));
    assert_eq!(identities[0].last_external_id.as_deref(), Some("a"));
    assert_eq!(identities[0].handles, person(1).handles);
}

#[tokio::test]
async fn a_repeat_changes_nothing() {
    let here = Here::new().await;
    let events = [
        message(1, 0, "a"),
        echo(1, 1, "b"),
        status(1, 2, "b", ProviderStatus::Read),
        reaction(1, 3, "b", Some("👍"), false),
        edit(1, 4, "a", "better", None, false),
        revoke(1, 5, "a", false),
        history(1, -900, "old", true, Content::text("long ago")),
        status(1, 6, "unknown", ProviderStatus::Sent),
    ];
    here.take(&events).await;
    let (before, entries) = (here.all_messages().await, here.count("log").await);
    assert_eq!(here.take(&events).await, 8);
    for event in &events {
        assert_eq!(here.take(std::slice::from_ref(event)).await, 1);
    }
    assert_eq!(here.all_messages().await, before);
    assert_eq!(here.count("log").await, entries);
    // Twice in one batch is once, too.
    assert_eq!(here.take(&[message(1, 9, "z"), message(1, 9, "z")]).await, 1);
    assert_eq!(here.count("messages").await, 4);
}

#[tokio::test]
async fn thirty_pictures_of_a_stranger_at_once_are_one_contact_and_one_thread() {
    let here = std::sync::Arc::new(Here::new().await);
    let pictures: Vec<_> = (0..30)
        .map(|n| {
            let here = std::sync::Arc::clone(&here);
            let mut picture = said(&format!("p{n}"), "");
            picture.attachments = vec![Attachment { kind: "image".to_owned(), ..Attachment::default() }];
            let event = event(7, 0, Fact::Message(picture));
            async move { here.take(&[event]).await }
        })
        .collect();
    futures_util::future::join_all(pictures).await;
    assert_eq!(here.count("contacts").await, 1);
    assert_eq!(here.count("threads").await, 1);
    let shown = here.all_messages().await;
    assert_eq!(shown.len(), 30);
    let seqs: Vec<i64> = shown.iter().map(|m| m.seq).collect();
    assert_eq!(seqs, (2..=31).collect::<Vec<i64>>());
    assert!(shown.iter().all(|m| m.attachments[0].id.is_some()));
}

#[tokio::test]
async fn a_late_message_is_marked_and_a_clock_that_runs_ahead_opens_no_longer_window() {
    let here = Here::new().await;
    let mut late = message(1, 0, "late");
    late.received_at = late.at.plus_millis(5 * 60 * 1000 + 1);
    let mut ahead = message(2, 0, "ahead");
    ahead.received_at = ahead.at.plus_millis(-10 * 60 * 60 * 1000);
    here.take(&[late, ahead.clone()]).await;
    assert!(here.message("late").await.late);
    let shown = here.message("ahead").await;
    assert!(!shown.late);
    let identities = here.identities().await;
    let identity = identities.iter().find(|i| Some(i.id) == shown.identity_id).unwrap();
    assert_eq!(identity.window_opened_at, Some(ahead.received_at));
}

#[tokio::test]
async fn only_the_author_edits_and_revokes() {
    let here = Here::new().await;
    here.take(&[
        message(1, 0, "in"),
        echo(1, 1, "out"),
        edit(1, 2, "out", "forged", None, false),
        revoke(1, 3, "out", false),
        edit(2, 2, "in", "forged", None, false),
        revoke(2, 3, "in", false),
        revoke(1, 3, "in", true),
    ])
    .await;
    for id in ["in", "out"] {
        let shown = here.message(id).await;
        assert_eq!((shown.edited_at, shown.revoked_at), (None, None), "{id}");
        assert_ne!(shown.content.text.as_deref(), Some("forged"));
    }
    here.take(&[edit(1, 9, "out", "ours", None, true), revoke(1, 9, "in", false)]).await;
    assert_eq!(here.message("out").await.content.text.as_deref(), Some("ours"));
    let gone = here.message("in").await;
    assert!(gone.revoked_at.is_some());
    assert_eq!(gone.content, Content { kind: "text".to_owned(), ..Content::default() });
    let mut reader = here.store.read().await.unwrap();
    let kept = sql("SELECT content FROM messages WHERE external_id = 'in'").first(&mut reader).await.unwrap();
    assert!(!kept.unwrap().text("content").unwrap().contains("words of in"), "taken back is taken back");
}

#[tokio::test]
async fn a_placeholder_of_history_is_completed_by_its_picture_in_either_order() {
    for picture_first in [false, true] {
        let here = Here::new().await;
        let placeholder = history(
            1,
            -900,
            "pic",
            false,
            Content { kind: "media_placeholder".into(), ..Content::default() },
        );
        let mut picture =
            history(1, -900, "pic", false, Content { kind: "image".into(), ..Content::default() });
        if let Fact::History(old) = &mut picture.fact {
            old.message.attachments = vec![Attachment { kind: "image".into(), ..Attachment::default() }];
        }
        let mut both = vec![placeholder, picture];
        if picture_first {
            both.reverse();
        }
        for event in &both {
            here.take(std::slice::from_ref(event)).await;
        }
        let shown = here.message("pic").await;
        assert_eq!(shown.content.kind, "image");
        assert_eq!(shown.attachments.len(), 1);
        assert!(shown.late);
        assert_eq!(here.count("messages").await, 1);
        assert!(here.logged(EventType::ThreadOpened).await.is_empty(), "it notifies nobody");
        assert_eq!(here.identities().await[0].window_opened_at, None);
    }
}

#[tokio::test]
async fn a_reply_names_what_it_answers_also_when_that_comes_later() {
    let here = Here::new().await;
    let mut answer = said("answer", "yes");
    answer.reply_to = Some(ReplyTo { external_id: Some("question".to_owned()), ..ReplyTo::default() });
    here.take(&[event(1, 5, Fact::Message(answer))]).await;
    assert_eq!(here.message("answer").await.reply_to.unwrap().message_id, None);
    here.take(&[echo(1, 0, "question")]).await;
    let question = here.message("question").await;
    assert_eq!(here.message("answer").await.reply_to.unwrap().message_id, Some(question.id));
}

#[tokio::test]
async fn what_has_no_message_is_in_the_log_word_for_word() {
    let here = Here::new().await;
    let optin = event(
        1,
        1,
        Fact::Optin(OptinFact { kind: "plugin".into(), payload: Some("x:1".into()), ..OptinFact::default() }),
    );
    let preference = event(
        1,
        2,
        Fact::Preference(PreferenceFact {
            category: "marketing_messages".into(),
            value: "stop".into(),
            details: None,
        }),
    );
    let mut notice = event(
        1,
        3,
        Fact::AccountNotice(NoticeFact {
            kind: "account_update".into(),
            scope: Some("waba 1".into()),
            action: None,
            health: None,
            sentence: "announced".into(),
            details: None,
        }),
    );
    notice.customer = None;
    let orphan = status(1, 4, "nobody's", ProviderStatus::Failed);
    here.take(&[optin.clone(), preference.clone(), notice.clone(), orphan.clone()]).await;
    for (kind, event) in [
        (EventType::ContactUpdated, &optin),
        (EventType::ContactUpdated, &preference),
        (EventType::ChannelNoticed, &notice),
        (EventType::StatusOrphaned, &orphan),
    ] {
        let logged = here.logged(kind).await;
        let found = logged.iter().find(|data| data["fact"] == serde_json::to_value(&event.fact).unwrap());
        let data = found.unwrap_or_else(|| panic!("{kind:?}: {logged:?}"));
        assert_eq!(data["at"], json!(event.at));
        assert_eq!(data["channel"]["account"], "201");
        if let Some(customer) = &event.customer {
            assert_eq!(data["customer"]["handles"], json!(customer.handles));
        }
    }
}
