//! Codes that are carried over, and what a platform says of who is who.

use std::time::Duration;

use loket_protocol::asks::{WebchatAsk, WebchatReply};
use loket_protocol::contact::{Handle, HandleKind, LinkRequest, Proof};
use loket_protocol::ids::{ContactId, VisitorId};
use loket_protocol::inbound::{Fact, IdentityFact, MessageFact, ReferralFact};
use loket_protocol::message::{Content, Referral};

use super::merging::{event, words};
use super::world::{World, messenger, says, site, whatsapp};
use crate::requests::{NewLink, Written};
use crate::{HubError, Target};

async fn link(world: &World, contact: ContactId, channel: &str) -> LinkRequest {
    let new = NewLink { channel: channel.to_owned(), account: None, language: None };
    match world.hub.request_link(&world.agent(), contact, new, None).await.expect("made") {
        Written::Done(link) => link,
        Written::Replayed { .. } => panic!("replayed"),
    }
}

async fn one_contact(world: &World, a: ContactId, b: ContactId) -> bool {
    world.hub.join_due().await.expect("joined");
    let [a, b] = [world.hub.contact(a).await, world.hub.contact(b).await];
    a.expect("there").id == b.expect("there").id
}

#[tokio::test]
async fn a_code_joins_once_within_its_time_and_on_its_account_only() {
    let world = World::new().await;
    let anna = world.on_phone("31600000001").await;
    let (web, _) = world.on_site().await;
    let late = link(&world, web.contact, "whatsapp").await;
    assert!(late.address.starts_with("https://wa.me/15550001?text=Hallo"), "{}", late.address);
    assert!(late.address.ends_with(&late.code));
    world.later(15 * 60 * 1000);
    world.takes(&event(&world, &anna.channel, &anna.handle, words("late", &late.code))).await;
    assert!(!one_contact(&world, anna.contact, web.contact).await, "too late");

    let there = link(&world, web.contact, "messenger").await;
    assert_eq!(there.address, format!("https://m.me/90001?ref={}", there.code));
    world.takes(&event(&world, &anna.channel, &anna.handle, words("there", &there.code))).await;
    assert!(!one_contact(&world, anna.contact, web.contact).await, "made for another account");
    // The store holds no code that could be carried.
    let contents = world.home.contents().await;
    let fresh = link(&world, web.contact, "whatsapp").await;
    assert!(
        contents.contains(&web.contact.to_string()) && !world.home.contents().await.contains(&fresh.code)
    );

    let said = event(&world, &anna.channel, &anna.handle, words("now", &fresh.code.to_uppercase()));
    world.takes(&said).await;
    world.takes(&said).await;
    assert!(one_contact(&world, anna.contact, web.contact).await);
    let merges = world.hub.merges(web.contact).await.expect("listed").items;
    assert_eq!((merges.len(), merges[0].proof), (1, Proof::LinkCode));
    let bert = world.on_phone("31600000002").await;
    world.takes(&event(&world, &bert.channel, &bert.handle, words("again", &fresh.code))).await;
    assert!(!one_contact(&world, bert.contact, web.contact).await, "used");
    let strange = NewLink { channel: "webchat".into(), account: None, language: None };
    let refused = world.hub.request_link(&world.agent(), web.contact, strange, None).await;
    assert!(matches!(refused, Err(HubError::Invalid { .. })));
    world.is_sound().await;
}

#[tokio::test]
async fn a_link_of_messenger_carries_its_code_behind_the_first_message_or_by_itself() {
    let world = World::new().await;
    for by_itself in [false, true] {
        let number = if by_itself { "31600000001" } else { "31600000002" };
        let anna = world.on_phone(number).await;
        let psid = Handle::new(HandleKind::Psid, number);
        let page = world.guest(messenger(), psid, &format!("m_{number}")).await;
        let code = link(&world, anna.contact, "messenger").await.code;
        let referral = Referral { reference: Some(code), ..Referral::default() };
        let fact = if by_itself {
            Fact::Referral(ReferralFact { referral })
        } else {
            let content = Content { referral: Some(referral), ..Content::text("Hoi") };
            let external_id = Some(format!("m_code_{number}"));
            Fact::Message(MessageFact { external_id, content, ..MessageFact::default() })
        };
        world.takes(&event(&world, &page.channel, &page.handle, fact)).await;
        assert!(one_contact(&world, anna.contact, page.contact).await);
    }
    world.is_sound().await;
}

async fn seen(world: &World, visitor: VisitorId) -> Vec<String> {
    let ask = WebchatAsk::History { site: "shop".into(), visitor, after_seq: 0, thread: None };
    match world.hub.webchat(ask).await.expect("answered") {
        WebchatReply::History { messages, .. } => {
            messages.into_iter().filter_map(|message| message.content.text).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unproven_visitor_sees_the_answers_to_their_case_and_nothing_else_of_the_other_channel() {
    let world = World::new().await;
    let agent = world.agent();
    let anna = world.on_phone("31600000001").await;
    world
        .says(&agent, super::world::Customer { thread: anna.thread, identity: anna.identity }, "old answer")
        .await;
    let (web, visitor) = world.on_site().await;
    let first = format!("{visitor}:first");
    let ask = |channel: &str| WebchatAsk::Link {
        site: "shop".into(),
        visitor,
        channel: channel.to_owned(),
        language: Some("en".into()),
    };
    assert_eq!(world.hub.webchat(ask("instagram")).await.expect("answered"), WebchatReply::NoLink);
    let WebchatReply::Link { address, .. } = world.hub.webchat(ask("whatsapp")).await.expect("answered")
    else {
        panic!("no link")
    };
    let (_, code) = address.rsplit_once("loket-").expect("a code");
    world.later(1_000);
    world.takes(&event(&world, &anna.channel, &anna.handle, words("code", &format!("loket-{code}")))).await;
    assert!(one_contact(&world, anna.contact, web.contact).await);
    assert_eq!(seen(&world, visitor).await, std::slice::from_ref(&first));
    world.later(1_000);
    let customer = super::world::Customer { thread: web.thread, identity: anna.identity };
    let to_phone = crate::NewReply { to: Target::Identity(anna.identity), ..says("the answer") };
    world.reply(&agent, customer, to_phone).await.expect("accepted");
    world.takes(&event(&world, &anna.channel, &anna.handle, words("more", "her own words there"))).await;
    world.hub.note(&agent, web.thread, "a note", None).await.expect("noted");
    assert_eq!(seen(&world, visitor).await, [first.clone(), "the answer".to_owned()]);
    // Somebody else at another device, and the end of the case.
    let (_, other) = world.on_site().await;
    assert_eq!(seen(&world, other).await.len(), 1);
    world.hub.resolve(&agent, web.thread, None, None).await.expect("resolved");
    world.later(1_000);
    world.takes(&event(&world, &anna.channel, &anna.handle, words("next", "another day"))).await;
    let to_phone = crate::NewReply { to: Target::Identity(anna.identity), ..says("of another day") };
    world.reply(&agent, customer, to_phone).await.expect("accepted");
    assert_eq!(seen(&world, visitor).await, [first.clone(), "the answer".to_owned()]);
    // Answers to the web itself are theirs, whenever.
    let to_web = crate::NewReply { to: Target::Identity(web.identity), ..says("on the web") };
    world.reply(&agent, customer, to_web).await.expect("accepted");
    assert_eq!(seen(&world, visitor).await.last().map(String::as_str), Some("on the web"));
    let merge = world.hub.merges(web.contact).await.expect("listed").items.remove(0);
    world.undone(&agent, merge.id).await;
    assert_eq!(seen(&world, visitor).await, [first, "on the web".to_owned()], "parted");
    assert_eq!(site().account, "shop");
    world.is_sound().await;
}

#[tokio::test]
async fn a_visitors_numbers_are_those_of_their_thread() {
    let world = World::new().await;
    let agent = world.agent();
    let anna = world.on_phone("31600000001").await;
    for n in 0..5 {
        world.takes(&event(&world, &anna.channel, &anna.handle, words(&format!("n{n}"), "more"))).await;
    }
    let (web, visitor) = world.on_site().await;
    let ask = async |after_seq, thread| {
        let ask = WebchatAsk::History { site: "shop".into(), visitor, after_seq, thread };
        match world.hub.webchat(ask).await.expect("answered") {
            WebchatReply::History { messages, up_to_seq, thread, .. } => {
                (messages.len(), up_to_seq.expect("told"), thread.expect("told"))
            }
            other => panic!("{other:?}"),
        }
    };
    let (count, up_to, own) = ask(0, None).await;
    assert_eq!((count, own), (1, web.thread));
    assert_eq!(ask(up_to, Some(own)).await.0, 0);
    let merge = world.merged(&agent, anna.contact, web.contact).await;
    let (count, joined_to, joined) = ask(up_to, Some(own)).await;
    assert_eq!((count, joined), (1, anna.thread), "told anew in the other thread");
    assert!(joined_to > up_to);
    assert_eq!(ask(joined_to, Some(joined)).await.0, 0);
    world.undone(&agent, merge.id).await;
    assert_eq!(ask(joined_to, Some(joined)).await.0, 1, "and in their own again");
    assert_eq!(ask(joined_to, None).await.0, 1, "a number that this thread does not have yet");
}

#[tokio::test]
async fn two_that_the_platform_names_as_one_are_joined_and_a_number_that_changed_hands_joins_nobody() {
    let world = World::new().await;
    let of = |kind, value: &str| Handle::new(kind, value);
    // By user id first, by number first, then both together.
    let ids = world.guest(whatsapp(), of(HandleKind::Bsuid, "NL.1"), "a").await;
    let number = world.on_phone("31600000001").await;
    let mut both = event(&world, &whatsapp(), &ids.handle, words("b", "b"));
    both.customer.as_mut().expect("named").handles.push(number.handle.clone());
    world.takes(&both).await;
    assert!(one_contact(&world, ids.contact, number.contact).await);
    let merge = world.hub.merges(ids.contact).await.expect("listed").items.remove(0);
    assert_eq!((merge.proof, merge.evidence["told"].as_str()), (Proof::Platform, Some("seen_together")));

    // A notice after the first message from the new id.
    let old = world.guest(whatsapp(), of(HandleKind::Bsuid, "NL.old"), "c").await;
    let new = world.guest(whatsapp(), of(HandleKind::Bsuid, "NL.new"), "d").await;
    let notice = IdentityFact {
        external_id: None,
        change: "user_changed_user_id".into(),
        previous: vec![old.handle.clone()],
        current: vec![new.handle.clone()],
        details: None,
    };
    let mut told = event(&world, &whatsapp(), &old.handle, Fact::Identity(notice));
    told.customer = None;
    world.takes(&told).await;
    assert!(one_contact(&world, old.contact, new.contact).await);

    // The number of somebody who has an id of their own: it may be another's today.
    let mine = world.guest(whatsapp(), of(HandleKind::Bsuid, "NL.mine"), "e").await;
    let mut theirs = event(&world, &whatsapp(), &of(HandleKind::Bsuid, "NL.theirs"), words("f", "f"));
    theirs.customer.as_mut().expect("named").handles.push(of(HandleKind::Phone, "31600000009"));
    world.takes(&theirs).await;
    let theirs = world.guest(whatsapp(), of(HandleKind::Phone, "31600000009"), "g").await;
    let mut reassigned = event(&world, &whatsapp(), &mine.handle, words("h", "h"));
    reassigned.customer.as_mut().expect("named").handles.push(theirs.handle.clone());
    world.takes(&reassigned).await;
    assert!(!one_contact(&world, mine.contact, theirs.contact).await);
    world.is_sound().await;
}

#[tokio::test]
async fn a_worker_joins_what_is_due_by_itself() {
    let world = World::new().await;
    let tasks = loket_backbone::tasks::Tasks::new();
    world.hub.start(&tasks);
    let anna = world.on_phone("31600000001").await;
    let (web, _) = world.on_site().await;
    let code = link(&world, web.contact, "whatsapp").await.code;
    world.takes(&event(&world, &anna.channel, &anna.handle, words("code", &code))).await;
    super::world::eventually("they are one", || async {
        world.hub.contact(web.contact).await.is_ok_and(|contact| contact.id == anna.contact)
    })
    .await;
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn equal_data_that_nobody_has_proven_suggests_and_opens_nothing() {
    let world = World::new().await;
    let phone = world.on_phone("31600000001").await;
    let (one, first) = world.on_site().await;
    let (other, second) = world.on_site().await;
    let claim = async |visitor, email: &str, phone: Option<&str>| {
        let ask = WebchatAsk::Claim {
            site: "shop".into(),
            visitor,
            name: Some("Anna".into()),
            email: Some(email.to_owned()),
            phone: phone.map(str::to_owned),
        };
        world.hub.webchat(ask).await.expect("answered")
    };
    assert_eq!(claim(first, "Anna@Shop.example", Some("+31 600 000 001")).await, WebchatReply::Claimed);
    assert_eq!(claim(second, "anna@shop.example", None).await, WebchatReply::Claimed);
    assert_eq!(claim(second, "no address", None).await, WebchatReply::BadClaim { field: "email".into() });
    assert_eq!(claim(world.clock.id(), "a@b.example", None).await, WebchatReply::Unknown);
    let found = world.hub.suggestions(one.contact).await.expect("found").items;
    let told: Vec<_> = found
        .iter()
        .flat_map(|s| {
            s.evidence.iter().map(|e| (s.contact.id, e.kind.as_str(), e.proven_here, e.proven_there))
        })
        .collect();
    assert_eq!(told.len(), 2, "a name in common says nothing: {told:?}");
    assert!(told.contains(&(phone.contact, "phone", false, true)));
    assert!(told.contains(&(other.contact, "email", false, false)));
    let back = world.hub.suggestions(phone.contact).await.expect("found").items;
    assert!(back.len() == 1 && back[0].evidence[0].proven_here && !back[0].evidence[0].proven_there);
    let shown = world.hub.contact(one.contact).await.expect("there");
    assert_eq!(shown.identities[0].claims.len(), 3, "agents see what is unproven");
    // Nobody was joined, and nobody sees a word of another.
    world.hub.join_due().await.expect("joined");
    let ids: std::collections::BTreeSet<_> =
        [&phone, &one, &other].iter().map(|guest| guest.thread).collect();
    let agent = world.agent();
    for (guest, visitor) in [(&one, first), (&other, second)] {
        assert_eq!(world.hub.thread(&agent, guest.thread).await.expect("there").id, guest.thread);
        assert_eq!(seen(&world, visitor).await, [format!("{visitor}:first")]);
    }
    assert_eq!(ids.len(), 3);
    let merge = world.merged(&agent, one.contact, other.contact).await;
    let left = world.hub.suggestions(one.contact).await.expect("found").items;
    assert_eq!(left.iter().map(|s| s.contact.id).collect::<Vec<_>>(), [phone.contact]);
    assert_eq!(seen(&world, second).await.len(), 1, "joined by an agent, they still see their own talk only");
    world.undone(&agent, merge.id).await;
    world.is_sound().await;
}
