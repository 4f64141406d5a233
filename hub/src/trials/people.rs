//! Logging in, sessions, keys, and what ends them.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use loket_backbone::kv::Wake;
use loket_protocol::agent::Role;
use loket_protocol::event::LiveSignal;
use loket_protocol::topics::LIVE;

use super::world::{DAY_MS, World};
use crate::requests::{NewAgent, NewKey, Principal, Written};
use crate::{CreatedAgent, CreatedKey, HubError};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

async fn made(world: &World, login: &str, role: Role) -> CreatedAgent {
    let new = NewAgent { login: login.into(), name: "Bram".into(), role };
    match world.hub.create_agent(None, new, None).await.expect("made") {
        Written::Done(created) => created,
        Written::Replayed { .. } => panic!("replayed"),
    }
}

async fn key(world: &World, by: Option<&Principal>, role: Role) -> Result<CreatedKey, HubError> {
    let expires_at = world.clock.now().plus_millis(300 * DAY_MS);
    let new = NewKey { name: "Koppeling".into(), role, expires_at };
    match world.hub.create_key(by, new, None).await? {
        Written::Done(created) => Ok(created),
        Written::Replayed { .. } => panic!("replayed"),
    }
}

async fn bearer(world: &World, login: &str, password: &str) -> String {
    let session = world.hub.log_in(login, password, HERE).await.expect("logged in");
    session.token.expose().to_owned()
}

#[tokio::test]
async fn the_first_admin_logs_in_with_the_password_that_was_told_once() {
    let world = World::new().await;
    let admin = made(&world, "Chef", Role::Admin).await;
    assert_eq!(admin.agent.login, "chef");
    let session = world.hub.log_in("CHEF", &admin.password, HERE).await.expect("logged in");
    let token = session.token.expose();
    assert!(token.starts_with("los_") && token.len() == 68);
    let principal = world.hub.principal(token).await.expect("asked").expect("known");
    assert_eq!((principal.agent(), principal.role), (Some(admin.agent.id), Role::Admin));
    let double = NewAgent { login: "CHEF".into(), name: "Ander".into(), role: Role::Agent };
    assert!(matches!(world.hub.create_agent(None, double, None).await, Err(HubError::Conflict(_))));
    let bot = NewAgent { login: "bot".into(), name: "Bot".into(), role: Role::Bot };
    assert!(matches!(world.hub.create_agent(None, bot, None).await, Err(HubError::Invalid { .. })));
    // A copied file holds neither password nor token.
    for file in ["loket.db", "loket.db-wal"] {
        let bytes = std::fs::read(world.dir.path().join(file)).expect("the file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(token) && !text.contains(&admin.password), "{file}");
    }
}

#[tokio::test]
async fn wrong_password_and_unknown_login_are_the_same_answer() {
    let world = World::new().await;
    made(&world, "bram", Role::Agent).await;
    for (login, password) in [("bram", "not the password"), ("nobody", "x"), ("b r", "x"), ("", "")] {
        let answer = world.hub.log_in(login, password, HERE).await;
        assert!(matches!(answer, Err(HubError::Credentials)), "{login}: {answer:?}");
    }
}

/// `security` P4: whoever is asked for, a wrong guess costs one hash of today's work.
#[tokio::test]
async fn unknown_and_disabled_people_cost_the_same_work() {
    let world = World::new().await;
    let chef = made(&world, "chef", Role::Admin).await;
    let token = bearer(&world, "chef", &chef.password).await;
    let by = world.hub.principal(&token).await.expect("asked").expect("known");
    let bram = made(&world, "bram", Role::Agent).await;
    let gone = made(&world, "gone", Role::Agent).await;
    world.hub.disable_agent(&by, gone.agent.id).await.expect("disabled");
    let hashed = || world.hub.inner().passwords.hashed.load(Ordering::SeqCst);
    for (login, password) in
        [("bram", "a wrong password"), ("nobody", "a wrong password"), ("gone", gone.password.as_str())]
    {
        let before = hashed();
        let answer = world.hub.log_in(login, password, HERE).await;
        assert!(matches!(answer, Err(HubError::Credentials)), "{login}: {answer:?}");
        assert_eq!(hashed() - before, 1, "{login}");
    }
    drop(bram);
}

#[tokio::test]
async fn of_200_guesses_at_once_five_get_through() {
    let world = World::new().await;
    let bram = made(&world, "bram", Role::Agent).await;
    let guesses = (0..200).map(|n| {
        let address = IpAddr::from([10, 0, 1, n]);
        let world = &world;
        async move { world.hub.log_in("bram", "a wrong password", address).await }
    });
    let answers = futures_util::future::join_all(guesses).await;
    let mut through = answers.iter().filter(|a| matches!(a, Err(HubError::Credentials))).count();
    assert!(answers.iter().all(Result::is_err));
    // On a busy machine some of them were turned away unasked (`Unavailable`): the rest comes one by one.
    for _ in 0..40 {
        match world.hub.log_in("bram", "a wrong password", HERE).await {
            Err(HubError::Credentials) => through += 1,
            Err(HubError::TooMany { .. }) => break,
            other => assert!(matches!(other, Err(HubError::Unavailable(_))), "{other:?}"),
        }
    }
    assert!(through <= 5, "{through} got through");
    let limited = world.hub.log_in("bram", &bram.password, HERE).await;
    let Err(HubError::TooMany { retry_after_s }) = limited else { panic!("{limited:?}") };
    assert!((1..=60).contains(&retry_after_s));
    world.later(retry_after_s * 1_000);
    // Those that a busy store turned away half-way were never forgotten, and cost a few minutes more.
    for _ in 0..10 {
        match world.hub.log_in("bram", &bram.password, HERE).await {
            Ok(_) => return,
            Err(HubError::TooMany { retry_after_s }) => world.later(retry_after_s * 1_000),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("he is locked out for good");
}

#[tokio::test]
async fn one_address_tries_twenty_times_whatever_the_login() {
    let world = World::new().await;
    let mut through = 0;
    for n in 0..24 {
        match world.hub.log_in(&format!("login{n}"), "x", HERE).await {
            Err(HubError::Credentials) => through += 1,
            Err(HubError::TooMany { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(through, 20);
}

/// Guesses until no more get through; answers how many did, and how long one has to wait then.
async fn guesses(world: &World, address: IpAddr) -> (u32, u64) {
    let mut through = 0;
    loop {
        match world.hub.log_in("bram", "a wrong password", address).await {
            Err(HubError::Credentials) => through += 1,
            Err(HubError::TooMany { retry_after_s }) => return (through, retry_after_s),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_goes_on_guessing_waits_longer_each_time_and_not_for_ever() {
    let world = World::new().await;
    let bram = made(&world, "bram", Role::Agent).await;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let (through, retry_after_s) = guesses(&world, HERE).await;
        assert_eq!(through, 5, "a refused try counts for nothing");
        waits.push(retry_after_s.div_ceil(60));
        world.later(retry_after_s * 1_000);
    }
    assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
    bearer(&world, "bram", &bram.password).await;
    guesses(&world, HERE).await;
    world.later(60 * 60_000 + 1);
    let (through, retry_after_s) = guesses(&world, HERE).await;
    assert_eq!((through, retry_after_s.div_ceil(60)), (5, 1), "after an hour all is forgotten");
}

#[tokio::test]
async fn strangers_lock_nobody_out_of_where_they_have_logged_in_before() {
    let world = World::new().await;
    let bram = made(&world, "bram", Role::Agent).await;
    bearer(&world, "bram", &bram.password).await;
    for n in 0..3 {
        let (_, retry_after_s) = guesses(&world, IpAddr::from([10, 9, 9, n])).await;
        assert!(retry_after_s > 0);
        let elsewhere = world.hub.log_in("bram", &bram.password, IpAddr::from([10, 8, 8, n])).await;
        assert!(matches!(elsewhere, Err(HubError::TooMany { .. })), "{elsewhere:?}");
        bearer(&world, "bram", &bram.password).await;
    }
    // The known address has its own five, and no more.
    assert_eq!(guesses(&world, HERE).await.0, 5);
    world.later(u64::try_from(31 * DAY_MS).expect("positive"));
    guesses(&world, IpAddr::from([10, 9, 9, 9])).await;
    let forgotten = world.hub.log_in("bram", &bram.password, HERE).await;
    assert!(matches!(forgotten, Err(HubError::TooMany { .. })), "after 30 days it is forgotten");
}

#[tokio::test]
async fn logging_in_well_is_not_counted() {
    let world = World::new().await;
    let bram = made(&world, "bram", Role::Agent).await;
    for _ in 0..8 {
        bearer(&world, "bram", &bram.password).await;
    }
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_too_old_or_logged_out() {
    let world = World::new().await;
    let bram = made(&world, "bram", Role::Agent).await;
    let idle = bearer(&world, "bram", &bram.password).await;
    world.later(12 * 3_600_000 + 1);
    assert_eq!(world.hub.principal(&idle).await.expect("asked"), None);
    let used = bearer(&world, "bram", &bram.password).await;
    for _ in 0..15 {
        world.later(11 * 3_600_000);
        assert!(world.hub.principal(&used).await.expect("asked").is_some());
    }
    world.later(4 * 3_600_000);
    assert_eq!(world.hub.principal(&used).await.expect("asked"), None, "seven days are over");
    let token = bearer(&world, "bram", &bram.password).await;
    let principal = world.hub.principal(&token).await.expect("asked").expect("known");
    world.hub.log_out(&principal).await.expect("logged out");
    assert_eq!(world.hub.principal(&token).await.expect("asked"), None);
    world.hub.sweep_once().await.expect("swept");
}

fn ended(wake: &Wake) -> Option<String> {
    match serde_json::from_slice(&wake.message) {
        Ok(LiveSignal::SessionEnded { principal }) if wake.channel == LIVE => Some(principal),
        _ => None,
    }
}

#[tokio::test]
async fn disabling_ends_sessions_keys_and_sockets_but_never_the_last_admin() {
    let world = World::new().await;
    let chef = made(&world, "chef", Role::Admin).await;
    let chef_token = bearer(&world, "chef", &chef.password).await;
    let chef_is = world.hub.principal(&chef_token).await.expect("asked").expect("known");
    let bram = made(&world, "bram", Role::Admin).await;
    let token = bearer(&world, "bram", &bram.password).await;
    let bram_is = world.hub.principal(&token).await.expect("asked").expect("known");
    let his = key(&world, Some(&bram_is), Role::Integrator).await.expect("made");
    let mut wakes = world.hub.inner().kv.listen();
    world.hub.disable_agent(&chef_is, bram.agent.id).await.expect("disabled");
    for bearer in [&token, &his.secret] {
        assert_eq!(world.hub.principal(bearer).await.expect("asked"), None);
    }
    let told = [wakes.recv().await.expect("told"), wakes.recv().await.expect("told")];
    let told: Vec<_> = told.iter().filter_map(ended).collect();
    assert_eq!(told, [bram.agent.id.to_string(), his.key.id.to_string()]);
    assert!(matches!(world.hub.log_in("bram", &bram.password, HERE).await, Err(HubError::Credentials)));
    let last = world.hub.disable_agent(&chef_is, chef.agent.id).await;
    assert!(matches!(last, Err(HubError::Conflict(_))));
    assert_eq!(world.hub.agents(None, 10).await.expect("read").items, [chef.agent]);
    let nobody = world.hub.disable_agent(&chef_is, world.clock.id()).await;
    assert!(matches!(nobody, Err(HubError::NotFound("agent"))));
}

#[tokio::test]
async fn a_login_is_fresh_for_ten_minutes_and_a_key_was_made_by_somebody_fresh() {
    let world = World::new().await;
    let chef = made(&world, "chef", Role::Admin).await;
    let token = bearer(&world, "chef", &chef.password).await;
    let by = world.hub.principal(&token).await.expect("asked").expect("known");
    assert!(world.hub.is_fresh(&by).await.expect("asked"));
    world.later(10 * 60_000 + 1_000);
    assert!(!world.hub.is_fresh(&by).await.expect("asked"), "using it does not keep it fresh");
    let again = bearer(&world, "chef", &chef.password).await;
    let again = world.hub.principal(&again).await.expect("asked").expect("known");
    assert!(world.hub.is_fresh(&again).await.expect("asked"));
    let key = key(&world, Some(&again), Role::Integrator).await.expect("made");
    let key = world.hub.principal(&key.secret).await.expect("asked").expect("known");
    world.later(60 * 60_000);
    assert!(world.hub.is_fresh(&key).await.expect("asked"));
    world.hub.log_out(&again).await.expect("logged out");
    assert!(!world.hub.is_fresh(&again).await.expect("asked"));
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let world = World::new().await;
    let bram = made(&world, "bram", Role::Agent).await;
    let here = bearer(&world, "bram", &bram.password).await;
    let there = bearer(&world, "bram", &bram.password).await;
    let by = world.hub.principal(&here).await.expect("asked").expect("known");
    let wrong = world.hub.change_password(&by, "not this one", "vier paarse fietsen").await;
    assert!(matches!(wrong, Err(HubError::Credentials)));
    let weak = world.hub.change_password(&by, &bram.password, "bram-bram-bram").await;
    assert!(matches!(weak, Err(HubError::Invalid { .. })));
    world.hub.change_password(&by, &bram.password, "vier paarse fietsen").await.expect("changed");
    assert!(world.hub.principal(&here).await.expect("asked").is_some());
    assert_eq!(world.hub.principal(&there).await.expect("asked"), None);
    bearer(&world, "bram", "vier paarse fietsen").await;
}

#[tokio::test]
async fn a_key_lasts_until_it_expires_is_revoked_or_forgotten() {
    let world = World::new().await;
    let chef = made(&world, "chef", Role::Admin).await;
    let token = bearer(&world, "chef", &chef.password).await;
    let by = world.hub.principal(&token).await.expect("asked").expect("known");
    let first = key(&world, Some(&by), Role::Integrator).await.expect("made");
    assert!(first.secret.starts_with("lok_"));
    let principal = world.hub.principal(&first.secret).await.expect("asked").expect("known");
    assert_eq!((principal.id(), principal.role), (first.key.id.to_string(), Role::Integrator));
    let listed = world.hub.keys(None, 10).await.expect("read").items;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].last_used_at.expect("used").as_millis() % 60_000, 0, "to the minute");
    world.hub.revoke_key(&by, first.key.id).await.expect("revoked");
    assert_eq!(world.hub.principal(&first.secret).await.expect("asked"), None);
    let second = key(&world, Some(&by), Role::Bot).await.expect("made");
    let day = u64::try_from(DAY_MS).expect("positive");
    for _ in 0..3 {
        world.later(80 * day);
        assert!(world.hub.principal(&second.secret).await.expect("asked").is_some());
    }
    world.later(61 * day);
    assert_eq!(world.hub.principal(&second.secret).await.expect("asked"), None, "expired");
    let forgotten = key(&world, Some(&by), Role::Bot).await.expect("made");
    world.later(91 * day);
    assert_eq!(world.hub.principal(&forgotten.secret).await.expect("asked"), None, "90 days unused");
    let agent = Principal { role: Role::Agent, ..by.clone() };
    assert!(key(&world, Some(&agent), Role::Admin).await.is_err(), "more right than the maker has");
    for days in [0, 400] {
        let expires_at = world.clock.now().plus_millis(days * DAY_MS);
        let new = NewKey { name: "x".into(), role: Role::Bot, expires_at };
        assert!(world.hub.create_key(Some(&by), new, None).await.is_err());
    }
}

#[tokio::test]
async fn foreign_and_mistyped_tokens_are_nobody() {
    let world = World::new().await;
    let made = key(&world, None, Role::Bot).await.expect("made");
    let mistyped = made.secret.replace(char::is_alphabetic, "0");
    for token in ["", "null", "los_", "lok_", &mistyped, &format!("los_{}", "0".repeat(64))] {
        assert_eq!(world.hub.principal(token).await.expect("asked"), None, "{token}");
    }
}
