//! Questions: best effort, and never longer than their deadline.

use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, PATIENCE, item, lease, lease_one};
use crate::bus::{BusError, PAYLOAD_BYTES_MAX};

const LONG: Duration = Duration::from_mins(5);

pub(crate) async fn a_question_is_answered<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let asker = async {
        let (one, other) = tokio::join!(
            bus.ask("counter", Bytes::from_static(b"one"), LONG),
            bus.ask("counter", Bytes::from_static(b"other"), LONG)
        );
        assert_eq!(one.unwrap(), "one!");
        assert_eq!(other.unwrap(), "other!");
    };
    let clerk = async {
        let mut questions = Vec::new();
        while questions.len() < 2 {
            questions.extend(lease(&*bus, "counter", "clerks", 2).await);
        }
        // The later one first: an answer finds its own question.
        for question in questions.into_iter().rev() {
            assert!(!question.leased_before());
            let answer = [&question.item().payload[..], b"!"].concat();
            question.reply(answer.into()).await.unwrap();
        }
    };
    tokio::join!(asker, clerk);
    let large = bus.ask("counter", vec![0; PAYLOAD_BYTES_MAX + 1].into(), LONG).await;
    assert!(matches!(large, Err(BusError::TooLarge(_))), "{large:?}");
    bus.close().await;
}

pub(crate) async fn a_question_without_an_answer_ends_at_its_deadline<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    // Long enough for a consumer to begin, also where that takes a connection.
    let short = Duration::from_secs(1);
    let unheard = tokio::time::timeout(PATIENCE, bus.ask("counter", Bytes::new(), short)).await.unwrap();
    assert!(matches!(unheard, Err(BusError::Deadline | BusError::Unroutable(_))), "{unheard:?}");
    let ask = bus.ask("counter", Bytes::from_static(b"heard"), short);
    let (unanswered, held) = tokio::join!(ask, lease_one(&*bus, "counter", "clerks"));
    assert!(matches!(unanswered, Err(BusError::Deadline)), "{unanswered:?}");
    assert_eq!(held.item().payload, "heard", "one that nobody waits for any more is not handed out");
    // Too late is no error: nobody can tell.
    held.reply(Bytes::new()).await.unwrap();
    bus.close().await;
}

pub(crate) async fn a_question_that_is_dropped_fails_at_once<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let ask = tokio::time::timeout(PATIENCE, bus.ask("counter", Bytes::new(), LONG));
    let (asked, ()) = tokio::join!(ask, async { drop(lease_one(&*bus, "counter", "clerks").await) });
    let asked = asked.expect("it must not wait for its deadline");
    assert!(matches!(asked, Err(BusError::Unavailable(_))), "{asked:?}");
    bus.close().await;
}

pub(crate) async fn a_question_that_is_given_back_is_taken_again<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let clerk = async {
        lease_one(&*bus, "counter", "clerks").await.nack().await.unwrap();
        let again = lease_one(&*bus, "counter", "clerks").await;
        assert!(again.leased_before());
        again.reply(Bytes::from_static(b"now")).await.unwrap();
    };
    let (asked, ()) = tokio::join!(bus.ask("counter", Bytes::new(), LONG), clerk);
    assert_eq!(asked.unwrap(), "now");
    bus.close().await;
}

pub(crate) async fn a_question_to_nobody_is_unroutable<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let asked = bus.ask("line", Bytes::new(), LONG).await;
    assert!(matches!(asked, Err(BusError::Unroutable(_))), "{asked:?}");
    bus.close().await;
}

pub(crate) async fn an_item_takes_no_answer<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &[item(1, "key")]).await.unwrap();
    let refused = lease_one(&*bus, "line", "crew").await.reply(Bytes::new()).await;
    assert!(matches!(refused, Err(BusError::Refused(_))), "{refused:?}");
    assert!(lease_one(&*bus, "line", "crew").await.leased_before(), "it is given back");
    bus.close().await;
}
