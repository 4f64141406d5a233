use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::contract;
use super::*;
use crate::clock::Clock;
use crate::random;
use crate::trial;

/// How long anything may take that happens by itself.
const PATIENT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_mins(1);
/// What the machine may take to look at a call that has ended.
const SLACK: Duration = Duration::from_millis(200);

/// Looks ever again until it is so.
macro_rules! eventually {
    ($is_so:expr, $what:literal) => {
        let looked = async {
            while !$is_so {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENT, looked).await.expect(concat!("in time: ", $what));
    };
}

struct OnRedis;

#[async_trait]
impl contract::Fixture for OnRedis {
    async fn open() -> Option<contract::Opened> {
        let url = trial::service("LOKET_TEST_REDIS")?;
        // The tests share one Redis, as installations may.
        let url = format!("{url}?prefix=test-{}", random::hex::<8>());
        let deadlines = [PATIENT, PATIENT, CALL_DEADLINE];
        let [here, there, in_time] = deadlines.map(|deadline| open_with(&url, deadline).unwrap());
        for kv in [&here, &there, &in_time] {
            eventually!(kv.get("").await.is_ok(), "it is connected");
        }
        Some(contract::Opened { here, there, in_time, clock: None })
    }
}

contract::kv_contract!(OnRedis);

fn now() -> Instant {
    Clock::system().instant()
}

fn text(value: &'static str) -> Bytes {
    Bytes::from_static(value.as_bytes())
}

/// One of every call, each of which must end in time; how many were answered.
async fn one_of_each(kv: &SharedKv) -> usize {
    let mut answered = 0;
    macro_rules! ends {
        ($call:expr) => {
            let begun = now();
            answered += usize::from($call.await.is_ok());
            let took = now().duration_since(begun);
            assert!(took <= CALL_DEADLINE + SLACK, "{} took {took:?}", stringify!($call));
        };
    }
    ends!(kv.set("key", text("x"), LONG));
    ends!(kv.get("key"));
    ends!(kv.renew("key", LONG));
    ends!(kv.take("key"));
    ends!(kv.remove("key"));
    ends!(kv.scan("k"));
    ends!(kv.count("counter", LONG));
    ends!(kv.pace("row", LONG, LONG, LONG));
    ends!(kv.wake("channel", text("x")));
    answered
}

const EACH: usize = 9;

/// When Redis does not answer, soon no call costs anything.
async fn calls_become_free(kv: &SharedKv) {
    let free = async || {
        let begun = now();
        assert_eq!(one_of_each(kv).await, 0);
        now().duration_since(begun) < CALL_DEADLINE / 10
    };
    eventually!(free().await, "there is no connection");
}

async fn is_heard(by: &SharedKv, said_by: &SharedKv) {
    let mut listener = by.listen();
    let mut heard = async || {
        let _ = said_by.wake("channel", text("look")).await;
        let heard = tokio::time::timeout(CALL_DEADLINE, listener.recv()).await;
        heard.is_ok_and(|wake| wake.unwrap().channel == "channel")
    };
    eventually!(heard().await, "a wake-up is heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_flushed_everything_begins_anew() {
    let Some(own) = trial::Service::start("LOKET_TEST_REDIS").await else { return };
    let kv = open(own.url()).unwrap();
    let mut plain = Client::open(own.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    eventually!(kv.count("limit", LONG).await.is_ok(), "it is connected");
    kv.set("ticket", text("x"), LONG).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut plain).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut plain).await.unwrap();
    eventually!(kv.get("ticket").await == Ok(None), "it answers");
    eventually!(matches!(kv.count("limit", LONG).await, Ok(1)), "a limit begins anew");
    is_heard(&kv, &kv).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_killed_in_the_middle_it_costs_nothing_and_it_comes_back() {
    let Some(own) = trial::Service::start("LOKET_TEST_REDIS").await else { return };
    let [kv, other] = [open(own.url()).unwrap(), open(own.url()).unwrap()];
    eventually!(one_of_each(&kv).await == EACH, "it is connected");
    is_heard(&kv, &other).await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let kv = Arc::clone(&kv);
        callers.spawn(async move {
            // Until the kill, and after it.
            while one_of_each(&kv).await > 0 {}
            calls_become_free(&kv).await;
        });
    }
    own.kill().await;
    callers.join_all().await;
    let mut listener = kv.listen();
    assert!(kv.wake("channel", text("alone")).await.is_err());
    assert_eq!(
        listener.try_recv().unwrap().message,
        "alone",
        "the process that says it hears it all the same"
    );

    own.start_again().await;
    eventually!(one_of_each(&kv).await == EACH, "it is back");
    is_heard(&kv, &other).await;
    is_heard(&other, &kv).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_frozen_it_costs_its_deadline_and_then_nothing() {
    let Some(own) = trial::Service::start("LOKET_TEST_REDIS").await else { return };
    let kv = open(own.url()).unwrap();
    eventually!(one_of_each(&kv).await == EACH, "it is connected");
    own.freeze().await;
    calls_become_free(&kv).await;
    own.thaw().await;
    eventually!(one_of_each(&kv).await == EACH, "it is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_who_accepts_and_never_answers_holds_up_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kv = open(&format!("redis://:hunter2@{}/0", silent.local_addr().unwrap())).unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        // The second connection shows that it does not wait for the first for ever.
        held.push(tokio::time::timeout(PATIENT, silent.accept()).await.unwrap().unwrap());
        assert_eq!(one_of_each(&kv).await, 0);
    }
    let said = kv.get("key").await.unwrap_err();
    assert!(!format!("{said} {said:?}").contains("hunter2"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so_without_the_password() {
    let Some(own) = trial::Service::start("LOKET_TEST_REDIS").await else { return };
    let mut plain = Client::open(own.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let require: [&str; 3] = ["SET", "requirepass", "right"];
    redis::cmd("CONFIG").arg(&require).exec_async(&mut plain).await.unwrap();
    let with = |password: &str| own.url().replace("redis://", &format!("redis://:{password}@"));
    let right = open(&with("right")).unwrap();
    eventually!(right.get("key").await.is_ok(), "the right password opens");

    let address = Address::parse(&with("hunter2")).unwrap();
    let link = Link::new(&address, LONG);
    let refused = link.connect(&Client::open(address.info).unwrap()).await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused}");
    assert!(refused.to_string().contains("WRONGPASS"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installations_that_share_a_redis_do_not_meet() {
    let Some(url) = trial::service("LOKET_TEST_REDIS") else { return };
    let name = random::hex::<8>();
    let urls = [format!("{url}?prefix=a-{name}"), format!("{url}?prefix=b-{name}")];
    let [one, two] = urls.map(|url| open_with(&url, PATIENT).unwrap());
    // Channels know no databases, so the number of the database is part of the prefix.
    let other_database = format!("{}/1?prefix=a-{name}", url.trim_end_matches("/0"));
    let third = open_with(&other_database, PATIENT).unwrap();
    for kv in [&one, &two, &third] {
        eventually!(kv.get("").await.is_ok(), "it is connected");
    }
    one.set("key", text("x"), LONG).await.unwrap();
    let mut listeners = [two.listen(), third.listen()];
    one.wake("channel", text("for one")).await.unwrap();
    for (kv, listener) in [&two, &third].into_iter().zip(&mut listeners) {
        assert_eq!(kv.get("key").await, Ok(None));
        assert_eq!(kv.scan("").await, Ok(Vec::new()));
        kv.wake("channel", text("own")).await.unwrap();
        let heard = tokio::time::timeout(PATIENT, listener.recv()).await.unwrap().unwrap();
        assert_eq!(heard.message, "own");
    }
}

#[tokio::test]
async fn with_tls_not_a_byte_goes_out_in_the_clear() {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _kv = open(&format!("rediss://:hunter2@{}", listening.local_addr().unwrap())).unwrap();
    let (mut stream, _) = tokio::time::timeout(PATIENT, listening.accept()).await.unwrap().unwrap();
    let mut greeting = [0; 5];
    tokio::time::timeout(PATIENT, stream.read_exact(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(greeting[..2], [0x16, 0x03], "the hello of a TLS client");
}

#[tokio::test]
async fn the_last_handle_ends_the_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kv = open(&format!("redis://{}", silent.local_addr().unwrap())).unwrap();
    let (stream, _) = tokio::time::timeout(PATIENT, silent.accept()).await.unwrap().unwrap();
    drop(kv);
    let ended = async {
        let mut greeting = [0; 1024];
        loop {
            stream.readable().await.unwrap();
            match stream.try_read(&mut greeting) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    };
    tokio::time::timeout(PATIENT, ended).await.unwrap();
}
