//! Merging and taking it back: by hand, at random, and while others write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Customer as Named, Handle, HandleKind, Merge, Proof};
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::event::{EventType, ThreadPlace};
use loket_protocol::ids::{ContactId, IdentityId, MergeId, MessageId, ThreadId, VisitorId};
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, MessageFact, WatermarkFact};
use loket_protocol::message::{Content, Message};
use loket_protocol::thread::ThreadStatus;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::world::{World, says, site, whatsapp};
use crate::requests::{MessagesFrom, NewMerge, NewReply, PAGE_MAX, Principal, Target, Written};
use crate::store::visitors;
use crate::{HubError, ingest};

/// Somebody who writes.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) channel: ChannelAccount,
    pub(super) handle: Handle,
    pub(super) contact: ContactId,
    pub(super) thread: ThreadId,
    pub(super) identity: IdentityId,
}

pub(super) fn event(world: &World, channel: &ChannelAccount, handle: &Handle, fact: Fact) -> InboundEvent {
    let now = world.clock.now();
    InboundEvent {
        v: INBOUND_VERSION,
        channel: channel.clone(),
        customer: Some(Named { handles: vec![handle.clone()], name: None, name_is_ours: false }),
        at: now,
        at_is_arrival: false,
        received_at: now,
        standby: false,
        opens_window: Some(true),
        fact,
    }
}

pub(super) fn words(id: &str, text: &str) -> Fact {
    Fact::Message(MessageFact {
        external_id: Some(id.to_owned()),
        content: Content::text(text),
        ..MessageFact::default()
    })
}

impl World {
    /// Carries an event out as the worker does: trouble that passes is tried again.
    pub(super) async fn takes(&self, event: &InboundEvent) {
        for _ in 0..200 {
            let carried = async {
                let mut tx = self.hub.inner().store.begin_for_worker().await?;
                ingest::apply(&mut tx, &self.hub.inner().house, std::slice::from_ref(event)).await?;
                tx.commit().await
            };
            match carried.await {
                Ok(()) => return,
                Err(error) if error.is_passing() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("never carried out");
    }

    /// Somebody who wrote their first words.
    pub(super) async fn guest(&self, channel: ChannelAccount, handle: Handle, id: &str) -> Guest {
        self.takes(&event(self, &channel, &handle, words(id, id))).await;
        let mut reader = self.hub.inner().store.read().await.expect("a reader");
        let (kind, value) = (handle.kind.as_str(), handle.value.clone());
        let row = crate::store::sql(
            "SELECT i.id, i.contact_id, t.id AS thread_id FROM handles h JOIN identities i \
             ON i.id = h.identity_id JOIN threads t ON t.contact_id = i.contact_id \
             WHERE h.kind = $1 AND h.value = $2",
        )
        .bind(kind)
        .bind(value)
        .first(&mut reader)
        .await
        .expect("asked")
        .expect("there");
        let of = |name| row.parsed::<String>(name).expect("text");
        Guest {
            channel,
            handle,
            contact: of("contact_id").parse().expect("an id"),
            thread: of("thread_id").parse().expect("an id"),
            identity: of("id").parse().expect("an id"),
        }
    }

    pub(super) async fn on_phone(&self, number: &str) -> Guest {
        let handle = Handle::new(HandleKind::Phone, number);
        self.guest(whatsapp(), handle, &format!("first of {number}")).await
    }

    pub(super) async fn on_site(&self) -> (Guest, VisitorId) {
        let visitor: VisitorId = self.clock.id();
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let hash = crate::tokens::sha256(&visitor.to_string());
        visitors::make(&mut tx, visitor, "shop", &hash).await.expect("made");
        tx.commit().await.expect("committed");
        let handle = Handle::new(HandleKind::Visitor, visitor.to_string());
        (self.guest(site(), handle, &format!("{visitor}:first")).await, visitor)
    }

    pub(super) async fn merged(&self, by: &Principal, one: ContactId, other: ContactId) -> Merge {
        let new = NewMerge { contact: other, survivor: None, why: None };
        self.merged_as(by, one, new).await.expect("merged")
    }

    pub(super) async fn merged_as(
        &self,
        by: &Principal,
        one: ContactId,
        new: NewMerge,
    ) -> Result<Merge, HubError> {
        match self.hub.merge(by, one, new, None).await? {
            Written::Done(merge) => Ok(merge),
            Written::Replayed { body, .. } => panic!("replayed {body}"),
        }
    }

    pub(super) async fn undone(&self, by: &Principal, merge: MergeId) -> Merge {
        match self.hub.undo_merge(by, merge, Some("a mistake"), None).await.expect("undone") {
            Written::Done(merge) => merge,
            Written::Replayed { body, .. } => panic!("replayed {body}"),
        }
    }

    /// What a thread shows, in the order of its numbers.
    pub(super) async fn shown(&self, thread: ThreadId) -> Vec<Message> {
        let mut after = 0;
        let mut all = Vec::new();
        loop {
            let page = self.hub.messages(thread, MessagesFrom::After(after), PAGE_MAX).await.expect("read");
            all.extend(page.items);
            let Some(next) = page.next_cursor else { return all };
            after = next.parse().expect("a number");
        }
    }

    pub(super) async fn texts(&self, thread: ThreadId) -> Vec<String> {
        let mut shown = self.shown(thread).await;
        shown.sort_by_key(|message| (message.created_at, message.seq));
        shown.into_iter().map(|message| message.content.text.unwrap_or_default()).collect()
    }
}

fn to(identity: IdentityId, text: &str) -> NewReply {
    NewReply { to: Target::Identity(identity), ..says(text) }
}

async fn reply(world: &World, by: &Principal, thread: ThreadId, new: NewReply) -> Message {
    let new = NewReply { client_message_id: Some(world.clock.id::<MessageId>().to_string()), ..new };
    for _ in 0..200 {
        match world.hub.reply(by, thread, new.clone(), None).await {
            Ok(Written::Done(message)) => return message,
            // As a client does: the same again.
            Err(HubError::Unavailable(_)) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    panic!("never accepted");
}

#[tokio::test]
async fn one_thread_stands_for_both_and_undoing_gives_each_its_own() {
    let world = World::new().await;
    let agent = world.agent();
    let anna = world.on_phone("31600000001").await;
    let (web, _) = world.on_site().await;
    reply(&world, &agent, anna.thread, says("to anna")).await;
    world.hub.note(&agent, web.thread, "of the site", None).await.expect("noted");
    let before = [world.shown(anna.thread).await, world.shown(web.thread).await];
    world.hub.resolve(&agent, anna.thread, None, None).await.expect("resolved");

    let merge = world.merged(&agent, web.contact, anna.contact).await;
    assert_eq!(
        (merge.contact_id, merge.merged_contact_id),
        (anna.contact, web.contact),
        "the older survives"
    );
    assert_eq!((merge.proof, merge.by.id), (Proof::Agent, Some(agent.id())));
    for id in [anna.thread, web.thread] {
        let thread = world.hub.thread(&agent, id).await.expect("there");
        assert_eq!((thread.id, thread.contact.id), (anna.thread, anna.contact));
        assert_eq!(thread.contact.identities.len(), 2);
        assert_eq!(thread.status, ThreadStatus::Open, "somebody waits in the other one");
        assert_eq!(thread.unread, 2, "a message is unread where it was unread");
    }
    assert_eq!(world.hub.contact(web.contact).await.expect("there").id, anna.contact);
    let texts = world.texts(web.thread).await;
    assert_eq!(texts.len(), 4);
    assert_eq!(texts, world.texts(anna.thread).await);
    let shown = world.shown(anna.thread).await;
    let copies: Vec<_> = shown.iter().filter_map(|message| message.copied_from).collect();
    let places: Vec<_> =
        before[1].iter().map(|message| ThreadPlace { id: web.thread, seq: message.seq }).collect();
    assert_eq!(copies, places, "each points at where it was appended");
    let told = world.told(anna.thread).await;
    assert!(told.contains(&EventType::ContactMerged));
    assert_eq!(told.iter().filter(|kind| **kind == EventType::MessageCopied).count(), 2);
    let listed = world.hub.threads(&agent, &crate::ThreadFilter::default(), None, 10).await.expect("listed");
    assert_eq!(listed.items.len(), 1, "one line a customer");

    // What comes meanwhile, by either side and by either id.
    world.takes(&event(&world, &web.channel, &web.handle, words("w2", "site again"))).await;
    let answer = reply(&world, &agent, web.thread, says("answer")).await;
    assert_eq!(answer.identity_id, Some(web.identity), "auto is where the contact wrote last");
    world.takes(&event(&world, &anna.channel, &anna.handle, words("a2", "anna again"))).await;
    world.hub.note(&agent, web.thread, "of both", None).await.expect("noted");
    assert_eq!(world.texts(anna.thread).await.len(), 8);
    world.is_sound().await;

    let again =
        world.merged_as(&agent, anna.contact, NewMerge { contact: web.contact, survivor: None, why: None });
    assert!(matches!(again.await, Err(HubError::Conflict(_))), "they are one already");
    let undone = world.undone(&agent, merge.id).await;
    assert!(undone.undone_at.is_some() && undone.undone_why.as_deref() == Some("a mistake"));
    let after = [world.shown(anna.thread).await, world.shown(web.thread).await];
    for (before, after) in before.iter().zip(&after) {
        for message in before {
            let now = after.iter().find(|now| now.id == message.id).expect("still its own");
            assert_eq!((now.seq, now.copied_from), (message.seq, None), "with the number that it had");
        }
    }
    assert_eq!(world.texts(web.thread).await[2..], ["site again", "answer"].map(str::to_owned));
    assert_eq!(world.texts(anna.thread).await[2..], ["anna again", "of both"].map(str::to_owned));
    let thread = world.hub.thread(&agent, web.thread).await.expect("there");
    assert_eq!((thread.id, thread.contact.identities.len()), (web.thread, 1));
    assert!(world.told(anna.thread).await.contains(&EventType::ContactSplit));
    let twice = world.hub.undo_merge(&agent, merge.id, None, None).await;
    assert!(matches!(twice, Err(HubError::Conflict(_))));
    assert_eq!(world.hub.merges(web.contact).await.expect("listed").items.len(), 1);
    world.is_sound().await;
}

#[tokio::test]
async fn a_merge_starts_nothing_and_an_undone_side_forgets_nobody_who_waits() {
    let world = World::new().await;
    let agent = world.agent();
    let anna = world.on_phone("31600000001").await;
    let bert = world.on_phone("31600000002").await;
    for thread in [anna.thread, bert.thread] {
        world.hub.resolve(&agent, thread, None, None).await.expect("resolved");
    }
    let seen = world.hub.contact(bert.contact).await.expect("there").identities[0].window_closes_at;
    world.later(60_000);
    let chosen = NewMerge { contact: bert.contact, survivor: Some(bert.contact), why: Some(" same ".into()) };
    let merge = world.merged_as(&agent, anna.contact, chosen).await.expect("merged");
    assert_eq!((merge.contact_id, merge.why.as_deref()), (bert.contact, Some("same")), "the agent chose");
    let thread = world.hub.thread(&agent, anna.thread).await.expect("there");
    assert_eq!((thread.status, thread.assignee), (ThreadStatus::Resolved, None), "nothing arrived");
    let windows: BTreeSet<_> = thread.contact.identities.iter().map(|own| own.window_closes_at).collect();
    assert!(windows.contains(&seen) && world.clock.now() > thread.last_message_at.expect("said"));
    world.takes(&event(&world, &anna.channel, &anna.handle, words("a2", "and now?"))).await;
    world.undone(&agent, merge.id).await;
    let own = world.hub.thread(&agent, anna.thread).await.expect("there");
    assert_eq!(
        (own.id, own.status),
        (anna.thread, ThreadStatus::Open),
        "the question waits where it belongs"
    );
    world.is_sound().await;
}

#[tokio::test]
async fn what_a_visitor_has_read_stays_read_in_other_numbers() {
    let world = World::new().await;
    let agent = world.agent();
    let anna = world.on_phone("31600000001").await;
    let (web, _) = world.on_site().await;
    let first = reply(&world, &agent, web.thread, to(web.identity, "one")).await;
    let second = reply(&world, &agent, web.thread, to(web.identity, "two")).await;
    let read = |seq| {
        let fact = WatermarkFact {
            status: ProviderStatus::Read,
            watermark: None,
            external_ids: vec![],
            up_to_seq: Some(seq),
        };
        event(&world, &web.channel, &web.handle, Fact::Watermark(fact))
    };
    world.takes(&read(first.seq)).await;
    // So that no message has the number by chance that it had.
    reply(&world, &agent, anna.thread, to(anna.identity, "zero")).await;
    let merge = world.merged(&agent, anna.contact, web.contact).await;
    world.is_sound().await;
    let shown = world.message(second.id).await;
    assert_ne!(shown.seq, second.seq);
    world.takes(&read(shown.seq)).await;
    world.undone(&agent, merge.id).await;
    for (message, seq) in [(first.id, first.seq), (second.id, second.seq)] {
        let now = world.message(message).await;
        assert_eq!(
            (now.seq, now.status.map(loket_protocol::delivery::MessageStatus::as_str)),
            (seq, Some("read"))
        );
    }
    world.is_sound().await;
}

/// One step of a random story of three people.
#[derive(Clone, Copy, Debug)]
enum Step {
    Says(usize),
    Repeats(usize),
    Answered(usize),
    Noted(usize),
    Merged(usize, usize, bool),
    Undone(usize),
}

const PEOPLE: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE;
    prop_oneof![
        3 => who().prop_map(Step::Says),
        1 => who().prop_map(Step::Repeats),
        2 => who().prop_map(Step::Answered),
        1 => who().prop_map(Step::Noted),
        3 => (who(), who(), any::<bool>()).prop_map(|(a, b, older)| Step::Merged(a, b, older)),
        3 => (0..8_usize).prop_map(Step::Undone),
    ]
}

/// Where each message stood.
type Stood = Vec<(MessageId, ThreadId, i64)>;

/// What must be so: who stands for whom, and whose each message is.
#[derive(Default)]
struct Model {
    into: HashMap<usize, usize>,
    /// Merges that hold: id, who was merged, and where everything stood in both threads before.
    merges: Vec<(MergeId, usize, Stood)>,
    /// Each message and whose it is.
    said: BTreeMap<MessageId, usize>,
}

impl Model {
    fn root(&self, mut who: usize) -> usize {
        while let Some(into) = self.into.get(&who) {
            who = *into;
        }
        who
    }
}

/// Plays a story with three new people and checks what everybody sees in the end.
async fn play(world: &World, by: &Principal, story: &[Step]) {
    let mut people = Vec::with_capacity(PEOPLE);
    for n in 0..PEOPLE {
        people.push(if n == 0 {
            world.on_site().await.0
        } else {
            let number = world.clock.id::<MessageId>().to_string();
            world.on_phone(&number).await
        });
    }
    let mut model = Model::default();
    for (who, guest) in people.iter().enumerate() {
        for message in world.shown(guest.thread).await {
            model.said.insert(message.id, who);
        }
    }
    let mut last: HashMap<usize, InboundEvent> = HashMap::new();
    for step in story {
        match *step {
            Step::Says(who) => {
                let id = world.clock.id::<MessageId>().to_string();
                let event = event(world, &people[who].channel, &people[who].handle, words(&id, &id));
                world.takes(&event).await;
                let shown = world.shown(people[who].thread).await;
                let said = shown.iter().find(|m| m.external_id.as_deref() == Some(&id)).expect("it is there");
                model.said.insert(said.id, who);
                last.insert(who, event);
            }
            Step::Repeats(who) => {
                if let Some(event) = last.get(&who) {
                    world.takes(event).await;
                }
            }
            Step::Answered(who) => {
                let message = reply(world, by, people[who].thread, to(people[who].identity, "answer")).await;
                model.said.insert(message.id, who);
            }
            Step::Noted(who) => {
                let noted = world.hub.note(by, people[who].thread, "note", None).await.expect("noted");
                let Written::Done(message) = noted else { panic!("replayed") };
                model.said.insert(message.id, model.root(who));
            }
            Step::Merged(one, other, first_survives) => {
                let (one_root, other_root) = (model.root(one), model.root(other));
                let survivor = if first_survives { one } else { other };
                let new = NewMerge {
                    contact: people[other].contact,
                    survivor: Some(people[survivor].contact),
                    why: None,
                };
                let mut stood = Vec::new();
                for root in [one_root, other_root] {
                    stood.extend(
                        world.shown(people[root].thread).await.iter().map(|m| (m.id, m.thread_id, m.seq)),
                    );
                }
                let merged = world.merged_as(by, people[one].contact, new).await;
                if one_root == other_root {
                    assert!(matches!(merged, Err(HubError::Conflict(_))), "{merged:?}");
                    continue;
                }
                let gone = if first_survives { other_root } else { one_root };
                let merge = merged.expect("merged");
                assert_eq!(merge.merged_contact_id, people[gone].contact);
                model.merges.push((merge.id, gone, stood));
                model.into.insert(gone, if first_survives { one_root } else { other_root });
            }
            Step::Undone(which) => {
                if model.merges.is_empty() {
                    continue;
                }
                let is_last = which % model.merges.len() + 1 == model.merges.len();
                let (merge, gone, stood) = model.merges.remove(which % model.merges.len());
                world.undone(by, merge).await;
                model.into.remove(&gone);
                if is_last {
                    for (message, thread, seq) in stood {
                        // Unless an earlier merge was taken back meanwhile.
                        let now = world.message(message).await;
                        assert!(now.thread_id != thread || now.seq == seq, "it has the number that it had");
                    }
                }
            }
        }
    }
    for (who, guest) in people.iter().enumerate() {
        let root = model.root(who);
        let thread = world.hub.thread(by, guest.thread).await.expect("its id leads somewhere");
        assert_eq!((thread.id, thread.contact.id), (people[root].thread, people[root].contact));
        if root != who {
            continue;
        }
        let shown = world.shown(guest.thread).await;
        let ids: BTreeSet<MessageId> = shown.iter().map(|message| message.id).collect();
        assert_eq!(ids.len(), shown.len(), "each message once");
        let expected = model.said.iter().filter(|(_, owner)| model.root(**owner) == who);
        assert_eq!(ids, expected.map(|(id, _)| *id).collect(), "of {who}");
        let last = thread.last_message.map(|message| message.id);
        assert!(last.is_some_and(|last| ids.contains(&last)));
    }
}

#[test]
fn a_thousand_random_stories_of_merges_and_undos_lose_and_double_nothing() {
    const STORIES: u32 = 1_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = runtime.block_on(World::new());
    let agent = world.agent();
    let config =
        Config { cases: STORIES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let stories = proptest::collection::vec(step(), 1..12);
    let played = runner.run(&stories, |story| {
        runtime.block_on(play(&world, &agent, &story));
        Ok(())
    });
    if let Err(error) = played {
        panic!("{error}");
    }
    runtime.block_on(world.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_two_are_joined_and_parted_everything_lands_once_and_in_its_place() {
    const ROUNDS: usize = 12;
    let world = World::new().await;
    let agent = world.agent();
    let anna = world.on_phone("31600000001").await;
    let (web, _) = world.on_site().await;
    let joins = async {
        for _ in 0..ROUNDS {
            let merge = loop {
                let new = NewMerge { contact: web.contact, survivor: None, why: None };
                match world.merged_as(&agent, anna.contact, new).await {
                    Ok(merge) => break merge,
                    Err(HubError::Unavailable(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            };
            loop {
                match world.hub.undo_merge(&agent, merge.id, None, None).await {
                    Ok(_) => break,
                    Err(HubError::Unavailable(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let writes = async |guest: &Guest| {
        for n in 0..ROUNDS {
            let id = format!("{}-{n}", guest.identity);
            let said = event(&world, &guest.channel, &guest.handle, words(&id, &id));
            world.takes(&said).await;
            world.takes(&said).await;
            reply(&world, &agent, guest.thread, to(guest.identity, "answer")).await;
        }
    };
    tokio::join!(joins, writes(&anna), writes(&web));
    for guest in [&anna, &web] {
        let shown = world.shown(guest.thread).await;
        assert_eq!(shown.len(), 1 + 2 * ROUNDS);
        assert!(shown.iter().all(|message| message.identity_id == Some(guest.identity)));
    }
    world.is_sound().await;
}

#[tokio::test]
async fn what_a_merge_has_left_in_disorder_is_named() {
    for (damage, word) in [
        ("DELETE FROM copies", "is a copy, and of what is not kept"),
        ("UPDATE copies SET seq = seq + 100", "the log has no such entry"),
        ("UPDATE messages SET first_seq = 9 WHERE first_seq IS NOT NULL", "does not point at where it was"),
        ("UPDATE threads SET merged_into = NULL", "and its thread"),
        ("UPDATE merges SET undone_at = 1", "no merge that holds says so"),
        (
            "UPDATE identities SET contact_id = made_with WHERE made_with IS NOT NULL",
            "for whom another one stands",
        ),
        ("UPDATE log SET data = '{}' WHERE type = 'contact.merged'", "is not told in the log"),
    ] {
        let world = World::new().await;
        let anna = world.on_phone("31600000001").await;
        let bert = world.on_phone("31600000002").await;
        world.merged(&world.agent(), anna.contact, bert.contact).await;
        world.is_sound().await;
        world.run(damage).await;
        let findings = world.hub.verify().await.expect("verified").findings;
        let named = findings.iter().any(|found| found.invariant == "V3" && found.sentence.contains(word));
        assert!(named, "{damage}: {findings:?}");
    }
}
