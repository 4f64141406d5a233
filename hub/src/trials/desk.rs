//! Notes, assignment, resolving, read marks, presence.

use loket_protocol::agent::{Presence, PresenceState, Role};
use loket_protocol::event::{EventType, LiveSignal};
use loket_protocol::message::Direction;
use loket_protocol::thread::ThreadStatus;
use loket_protocol::topics::LIVE;

use super::world::World;
use crate::requests::{NewAgent, Written};
use crate::{HubError, UnconfirmedPolicy};

fn done<T>(written: Written<T>) -> T {
    match written {
        Written::Done(value) => value,
        Written::Replayed { body, .. } => panic!("replayed {body}"),
    }
}

#[tokio::test]
async fn a_note_is_in_the_thread_and_never_goes_out() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    let note = done(world.hub.note(&agent, anna.thread, "Belt terug", None).await.expect("noted"));
    assert_eq!((note.direction, note.channel, note.status), (Direction::Note, None, None));
    assert_eq!(world.told(anna.thread).await, [EventType::NoteAdded]);
    world.dispatch().await;
    assert!(world.published().await.is_empty());
    let thread = world.hub.thread(&agent, anna.thread).await.expect("a thread");
    assert_eq!(thread.last_message.map(|last| last.id), Some(note.id));
    for bad in ["", "  ", "a\0b", &"x".repeat(10_001)] {
        assert!(matches!(
            world.hub.note(&agent, anna.thread, bad, None).await,
            Err(HubError::Invalid { .. })
        ));
    }
    let nowhere = world.hub.note(&agent, world.clock.id(), "x", None).await;
    assert!(matches!(nowhere, Err(HubError::NotFound("thread"))));
}

#[tokio::test]
async fn assigning_needs_the_version_that_was_seen() {
    let world = World::new().await;
    let anna = world.anna().await;
    let new = NewAgent { login: "bram".into(), name: "Bram".into(), role: Role::Agent };
    let bram = done(world.hub.create_agent(None, new, None).await.expect("made")).agent.id;
    let by = world.agent();
    let before = world.hub.thread(&by, anna.thread).await.expect("a thread").version;
    let thread = world.hub.assign(&by, anna.thread, Some(bram), Some(before), None).await.expect("assigned");
    let thread = done(thread);
    assert_eq!(thread.assignee, Some(bram));
    let stale = world.hub.assign(&by, anna.thread, None, Some(before), None).await;
    assert!(matches!(stale, Err(HubError::Stale)));
    let nobody = world.hub.assign(&by, anna.thread, Some(world.clock.id()), None, None).await;
    assert!(matches!(nobody, Err(HubError::Invalid { .. })));
    world.hub.assign(&by, anna.thread, Some(bram), Some(thread.version), None).await.expect("the same again");
    world.hub.assign(&by, anna.thread, None, None, None).await.expect("taken");
    assert_eq!(world.told(anna.thread).await, [EventType::ThreadAssigned, EventType::ThreadUnassigned]);
}

#[tokio::test]
async fn resolving_and_reopening_tell_once_and_begin_a_case() {
    let world = World::new().await;
    let anna = world.anna().await;
    let by = world.agent();
    for _ in 0..2 {
        let thread = done(world.hub.resolve(&by, anna.thread, None, None).await.expect("resolved"));
        assert_eq!(thread.status, ThreadStatus::Resolved);
    }
    let mut cases = Vec::new();
    for _ in 0..2 {
        let thread = done(world.hub.reopen(&by, anna.thread, None, None).await.expect("reopened"));
        assert_eq!(thread.status, ThreadStatus::Open);
        cases.push(thread.case_id.expect("a case"));
    }
    assert_eq!(cases[0], cases[1], "reopening what is open changes nothing");
    assert_eq!(world.told(anna.thread).await, [EventType::ThreadResolved, EventType::ThreadOpened]);
}

#[tokio::test]
async fn read_marks_go_forward_only_and_need_nobody_to_listen() {
    let world = World::new().await;
    let anna = world.anna().await;
    let by = world.agent();
    world.run(
        "INSERT INTO messages (id, thread_id, seq, direction, author_type, identity_id, channel_kind, account, \
         external_id, content, created_at) SELECT 'msg_01M7YQ1WE08E6Q4V9T3B5N7K1Z', t.id, 1, 'in', 'contact', \
         i.id, i.channel_kind, i.account, 'wamid.in', '{\"type\":\"text\",\"text\":\"Hoi\"}', 1 \
         FROM threads t JOIN identities i ON i.contact_id = t.contact_id",
    )
    .await;
    world.run("UPDATE threads SET seq = 1").await;
    assert_eq!(world.hub.thread(&by, anna.thread).await.expect("a thread").unread, 1);
    // No sender answers the signal: the mark counts all the same.
    world.hub.mark_read(&by, anna.thread, 99).await.expect("marked");
    assert_eq!(world.hub.thread(&by, anna.thread).await.expect("a thread").unread, 0);
    world.hub.mark_read(&by, anna.thread, 1).await.expect("marked");
    assert!(matches!(world.hub.mark_read(&by, anna.thread, 0).await, Err(HubError::Invalid { .. })));
    assert!(world.hub.typing(&by, anna.thread, true).await.is_ok());
    assert!(matches!(world.hub.typing(&by, world.clock.id(), true).await, Err(HubError::NotFound(_))));
}

#[tokio::test]
async fn presence_is_told_and_survives_a_lost_kv() {
    for kv in ["memory:", "none:"] {
        let world = World::with(kv, UnconfirmedPolicy::Hold).await;
        let agent = world.clock.id();
        assert_eq!(world.hub.presence(agent).await.presence, Presence::Offline);
        let mut wakes = world.hub.inner().kv.listen();
        let state = PresenceState { presence: Presence::Online, accepting: true, capacity: 3 };
        world.hub.set_presence(agent, state).await.expect("set");
        assert_eq!(world.hub.presence(agent).await, state);
        if kv == "memory:" {
            let wake = wakes.recv().await.expect("told");
            assert_eq!(wake.channel, LIVE);
            let signal: LiveSignal = serde_json::from_slice(&wake.message).expect("readable");
            assert_eq!(signal, LiveSignal::Presence { agent_id: agent, state });
            // Somebody empties kv: the next renewal says it again.
            world.hub.inner().kv.remove(&format!("presence:{agent}")).await.expect("removed");
            world.hub.renew_presence(agent).await;
            assert!(world.hub.inner().kv.get(&format!("presence:{agent}")).await.expect("asked").is_some());
        }
        world.hub.set_presence(agent, PresenceState::default()).await.expect("set");
        assert_eq!(world.hub.presence(agent).await.presence, Presence::Offline);
        let many = PresenceState { capacity: 101, ..state };
        assert!(world.hub.set_presence(agent, many).await.is_err());
    }
}
