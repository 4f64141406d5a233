//! Who somebody is.

use super::*;

#[tokio::test]
async fn a_changed_number_and_a_changed_id_make_no_second_contact_in_any_order() {
    let phone = |value: &str| Handle::new(HandleKind::Phone, value);
    let bsuid = |value: &str| Handle::new(HandleKind::Bsuid, value);
    let with = |handles: Vec<Handle>, mut event: InboundEvent| {
        event.customer = Some(Customer { handles, name: None, name_is_ours: false });
        event
    };
    let first = with(vec![bsuid("NL.old"), phone("31600000042")], message(1, 0, "first"));
    let mut number = event(
        1,
        10,
        Fact::Identity(IdentityFact {
            external_id: Some("n1".into()),
            change: "user_changed_number".into(),
            previous: vec![phone("31600000042")],
            current: vec![phone("31600000043")],
            details: None,
        }),
    );
    number.customer = None;
    let id = with(
        vec![phone("31600000043")],
        event(
            1,
            11,
            Fact::Identity(IdentityFact {
                external_id: None,
                change: "user_id_update".into(),
                previous: vec![bsuid("NL.old")],
                current: vec![bsuid("NL.new")],
                details: None,
            }),
        ),
    );
    let after = with(vec![bsuid("NL.new"), phone("31600000043")], message(1, 20, "after"));
    let all = [first, number, id, after];
    for order in permutations(4) {
        // The first message from the new address alone cannot tell whose it is; two contacts that
        // exist already are joined by a later verb.
        let place = |n: usize| order.iter().position(|at| *at == n).unwrap();
        let told_before = place(1) < place(3) || place(2) < place(3);
        let linked = place(1).max(place(2)) < place(3) || place(0) < place(1).max(place(2));
        if !(told_before && linked) {
            continue;
        }
        let here = Here::new().await;
        for at in &order {
            here.take(std::slice::from_ref(&all[*at])).await;
            here.take(std::slice::from_ref(&all[*at])).await;
        }
        assert_eq!(here.count("contacts").await, 1, "{order:?}");
        let identities = here.identities().await;
        assert_eq!(identities[0].handles, [bsuid("NL.new"), phone("31600000043")], "{order:?}");
        // Somebody else has the old number today.
        here.take(&[with(vec![bsuid("NL.other"), phone("31600000042")], message(1, 99, "other"))]).await;
        assert_eq!(here.count("contacts").await, 2, "{order:?}");
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

#[tokio::test]
async fn two_people_named_by_one_event_stay_two_until_somebody_joins_them() {
    let here = Here::new().await;
    let only = |handle: Handle, mut event: InboundEvent| {
        event.customer = Some(Customer { handles: vec![handle], name: None, name_is_ours: false });
        event
    };
    here.take(&[only(Handle::new(HandleKind::Bsuid, "NL.1"), message(1, 0, "a"))]).await;
    here.take(&[only(Handle::new(HandleKind::Phone, "31600000001"), message(1, 1, "b"))]).await;
    let mut both = message(1, 2, "c");
    both.customer = Some(Customer {
        handles: vec![Handle::new(HandleKind::Bsuid, "NL.1"), Handle::new(HandleKind::Phone, "31600000001")],
        name: None,
        name_is_ours: false,
    });
    here.take(&[both]).await;
    assert_eq!(here.count("contacts").await, 2);
    assert_eq!(here.message("c").await.thread_id, here.message("a").await.thread_id);
}

#[tokio::test]
async fn a_card_that_answers_our_request_proves_the_number() {
    let here = Here::new().await;
    let mut card = said("card", "");
    card.content = Content { kind: "contacts".into(), ..Content::default() };
    card.content.contacts = vec![ContactCard {
        phones: vec!["+31 600000088".into()],
        origin: Some("contact_request".into()),
        ..ContactCard::default()
    }];
    let mut event = event(1, 0, Fact::Message(card));
    event.customer = Some(Customer {
        handles: vec![Handle::new(HandleKind::Bsuid, "NL.9"), Handle::new(HandleKind::Username, "mila.bakt")],
        name: None,
        name_is_ours: false,
    });
    here.take(&[event]).await;
    assert!(here.identities().await[0].handles.contains(&Handle::new(HandleKind::Phone, "31600000088")));
    let linked = here.logged(EventType::IdentityLinked).await;
    assert_eq!(linked[0]["proof"], "contact_request");
}

#[tokio::test]
async fn names_the_latest_wins_and_ours_outranks() {
    let named = |second: i64, id: &str, name: &str| {
        let mut event = message(1, second, id);
        event.customer.as_mut().unwrap().name = Some(name.to_owned());
        event
    };
    let sync = |second: i64, action: &str, name: Option<&str>| {
        let mut event = event(1, second, Fact::ContactSync(ContactSyncFact { action: action.to_owned() }));
        let customer = event.customer.as_mut().unwrap();
        customer.name = name.map(str::to_owned);
        customer.name_is_ours = true;
        event
    };
    let here = Here::new().await;
    let shown = async || {
        let identities = here.identities().await;
        let mut reader = here.store.read().await.unwrap();
        let contact = contacts::contacts(&mut reader, &[identities[0].contact_id]).await.unwrap().remove(0);
        contacts::shown_name(&contact, &identities)
    };
    here.take(&[named(10, "a", "Newer"), named(5, "b", "Older")]).await;
    assert_eq!(shown().await.as_deref(), Some("Newer"));
    here.take(&[sync(3, "add", Some("Ours"))]).await;
    assert_eq!(shown().await.as_deref(), Some("Ours"));
    here.take(&[sync(4, "remove", None), sync(2, "add", Some("Ours before"))]).await;
    assert_eq!(shown().await.as_deref(), Some("Newer"));
    here.take(&[named(20, "c", "Newest")]).await;
    assert_eq!(shown().await.as_deref(), Some("Newest"));
    assert_eq!(here.logged(EventType::ContactUpdated).await.len(), 4, "three of the book, one new name");
}
