//! Two processes of one installation, which share a kv: presence is one, and a kv that is lost, flushed or
//! frozen loses nothing of record (`reliability-contract` §9, K2).

use std::sync::Arc;
use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_backbone::kv::{self, SharedKv};
use loket_backbone::{random, trial};
use loket_protocol::agent::{Presence, PresenceState};
use loket_protocol::delivery::MessageStatus;
use loket_protocol::event::LiveSignal;
use loket_protocol::ids::AgentId;
use loket_protocol::topics::LIVE;

use super::world::{World, eventually};
use crate::UnconfirmedPolicy;

const ONLINE: PresenceState = PresenceState { presence: Presence::Online, accepting: true, capacity: 3 };
const AWAY: PresenceState = PresenceState { presence: Presence::Offline, accepting: false, capacity: 3 };
const BUSY: PresenceState = PresenceState { presence: Presence::Online, accepting: false, capacity: 1 };

/// How long kv may hold up what is done here, by each call that it does not answer, and the machine.
const HELD_UP_MAX: Duration = Duration::from_secs(1);

/// Two processes; the kv of each is its own handle.
async fn processes(one: SharedKv, other: SharedKv) -> [World; 2] {
    let clock = Clock::movable();
    let worlds = [one, other].map(|kv| Box::pin(World::on(kv, clock.clone(), UnconfirmedPolicy::Hold)));
    let [one, other] = worlds;
    [one.await, other.await]
}

async fn on_redis(url: &str) -> [World; 2] {
    let [one, other] = [(), ()].map(|()| kv::open(url, Clock::system()).expect("a kv"));
    for kv in [&one, &other] {
        eventually("it is connected", || async { kv.get("").await.is_ok() }).await;
    }
    processes(one, other).await
}

/// On each kind of kv that processes can share; in memory, "two processes" are two hubs.
async fn everywhere(what: impl AsyncFn([World; 2])) {
    let shared = kv::open("memory:", Clock::system()).expect("a kv");
    what(processes(Arc::clone(&shared), shared).await).await;
    if let Some(url) = trial::service("LOKET_TEST_REDIS") {
        what(on_redis(&format!("{url}?prefix=hub-{}", random::hex::<8>())).await).await;
    }
}

/// Sets a presence. What a busy kv did not take in time is said again, as an agent would.
async fn set(world: &World, agent: AgentId, state: PresenceState) {
    let is_set = || async {
        world.hub.set_presence(agent, state).await.expect("set");
        let kept = world.hub.inner().kv.get(&format!("presence:{agent}")).await;
        kept.is_ok_and(|kept| kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()) == Some(state))
    };
    eventually("kv has it", is_set).await;
}

async fn shows(world: &World, agent: AgentId, state: PresenceState) {
    // A kv that did not answer in time is asked again.
    eventually("its presence is told", || async { world.hub.presence(agent).await == state }).await;
}

#[tokio::test]
async fn presence_is_one_over_all_processes() {
    everywhere(async |[here, there]: [World; 2]| {
        let agent = here.clock.id();
        set(&here, agent, ONLINE).await;
        shows(&there, agent, ONLINE).await;
        // They have a socket in both; in one of them they go.
        there.hub.renew_presence(agent).await;
        set(&here, agent, AWAY).await;
        for _ in 0..2 {
            there.hub.renew_presence(agent).await;
            here.hub.renew_presence(agent).await;
            shows(&there, agent, AWAY).await;
            shows(&here, agent, AWAY).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_kv_lost_is_said_again_as_it_was_last_by_whichever_process_renews_first() {
    everywhere(async |[here, there]: [World; 2]| {
        let agent = here.clock.id();
        let mut told = there.hub.inner().kv.listen();
        set(&here, agent, ONLINE).await;
        there.hub.renew_presence(agent).await;
        set(&here, agent, BUSY).await;
        // As the task that feeds the sockets of that process does.
        let heard = async {
            loop {
                let wake = told.recv().await.expect("told");
                let signal = (wake.channel == LIVE).then(|| serde_json::from_slice(&wake.message));
                let Some(Ok(signal)) = signal else { continue };
                there.hub.hear(signal).await;
                if there.hub.inner().present.get(agent, there.clock.instant()) == Some(BUSY) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("heard");
        let kv = &here.hub.inner().kv;
        for (key, _) in kv.scan("presence:").await.expect("scanned") {
            kv.remove(&key).await.expect("removed");
        }
        there.hub.renew_presence(agent).await;
        assert!(kv.get(&format!("presence:{agent}")).await.expect("asked").is_some(), "it is back");
        shows(&here, agent, BUSY).await;
        shows(&there, agent, BUSY).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_with_redis_frozen_and_killed_everything_of_record_goes_on() {
    let Some(own) = trial::Service::start("LOKET_TEST_REDIS").await else { return };
    let [here, there] = on_redis(own.url()).await;
    let agent = here.clock.id();
    set(&here, agent, ONLINE).await;
    shows(&there, agent, ONLINE).await;
    let by = here.agent();
    let anna = here.anna().await;
    let mut said = Vec::new();
    own.freeze().await;
    for round in 0..3 {
        let begun = here.clock.instant();
        said.push(here.says(&by, anna, &format!("frozen {round}")).await.id);
        here.hub.renew_presence(agent).await;
        assert_eq!(here.hub.presence(agent).await, ONLINE, "this process knows");
        here.hub.live(&LiveSignal::Typing { thread_id: anna.thread, agent_id: None, on: true }).await;
        let took = here.clock.instant().duration_since(begun);
        assert!(took < HELD_UP_MAX, "{took:?}");
    }
    own.kill().await;
    said.push(here.says(&by, anna, "killed").await.id);
    assert_eq!(here.hub.presence(agent).await, ONLINE);
    let away = there.hub.presence(agent).await;
    assert!([ONLINE, PresenceState::default()].contains(&away), "as far as it was told: {away:?}");

    // An empty Redis: the next renewal tells everybody again.
    own.start_again().await;
    let known_again = || async {
        here.hub.renew_presence(agent).await;
        there.hub.presence(agent).await == ONLINE
    };
    eventually("the other process knows again", known_again).await;
    for id in said {
        assert_eq!(here.message(id).await.status, Some(MessageStatus::Queued));
    }
    here.is_sound().await;
}
