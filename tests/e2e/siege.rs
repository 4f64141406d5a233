//! Everything is killed, again and again, while customers write: each role in turn, the broker, the
//! database, and Redis forgets all it knew. What was answered 200 is in its thread once and in order, and
//! soon after the last kill nothing is left to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loket_backbone::trial::Service;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::harness::{AMQP, Kind, Meta, Options, POSTGRES, REDIS, World, with_names_of_its_own};

/// How long it takes in the ordinary run; `LOKET_SIEGE_SECONDS=300` is the long form.
const SECONDS: u64 = 14;
/// How many customers write, each message after the one before it was accepted.
const CUSTOMERS: u64 = 50;
/// Between two messages of a customer: 100 messages a second in all. Whoever was held up catches up.
const PAUSE: Duration = Duration::from_millis(500);
/// Every fifth message comes twice at the same moment.
const TWICE_EVERY: u64 = 5;
/// What is not accepted is repeated so soon.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a platform waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How soon after the last recovery nothing may be left to do.
const BACKLOG_GONE: Duration = Duration::from_secs(30);
/// What is killed in turn.
const PROCESSES: [&str; 4] = ["connectors", "hub-1", "agent-api", "hub-2"];

/// When something happens: every so many seconds, for the first time after some.
#[derive(Clone, Copy)]
struct Every(u64, u64);

impl Every {
    fn is_due(self, second: u64) -> bool {
        second % self.0 == self.1
    }
}

/// What happens when.
struct Plan {
    seconds: u64,
    process: Every,
    broker: Every,
    database: Every,
    redis: Every,
}

impl Plan {
    fn read() -> Self {
        let told = std::env::var("LOKET_SIEGE_SECONDS").ok();
        match told.map(|text| text.parse().expect("LOKET_SIEGE_SECONDS is a number")) {
            Some(seconds) => Self {
                seconds,
                process: Every(7, 3),
                broker: Every(20, 10),
                database: Every(60, 25),
                redis: Every(5, 1),
            },
            // Each of them once, and each role.
            None => Self {
                seconds: SECONDS,
                process: Every(3, 1),
                broker: Every(SECONDS, 3),
                database: Every(SECONDS, 8),
                redis: Every(5, 2),
            },
        }
    }
}

/// How callbacks were answered.
#[derive(Default)]
struct Answers {
    accepted: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl Answers {
    fn count(&self, status: Option<u16>) {
        let count = match status {
            Some(200) => &self.accepted,
            Some(503) => &self.refused,
            None => &self.lost,
            Some(other) => panic!("a callback was answered {other}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn until_accepted(meta: &Meta, body: &str, answers: &Answers) {
    let mut again = tokio::time::interval(AGAIN);
    loop {
        again.tick().await;
        let posted = tokio::time::timeout(PATIENCE, meta.post("whatsapp", body.to_owned())).await;
        let status = posted.ok().flatten();
        answers.count(status);
        if status == Some(200) {
            return;
        }
    }
}

/// One customer writes until told to stop; how many messages were accepted.
async fn writes(meta: Meta, customer: u64, stop: Arc<AtomicBool>, answers: Arc<Answers>) -> u64 {
    let phone = format!("3160000{customer:04}");
    let mut tick = tokio::time::interval(PAUSE);
    for number in 0.. {
        tick.tick().await;
        if stop.load(Ordering::SeqCst) {
            return number;
        }
        let id = format!("wamid.SIEGE{customer}.{number}");
        let body = Meta::whatsapp_text(&phone, &id, &number.to_string(), 1_795_253_400).to_string();
        if (customer + number).is_multiple_of(TWICE_EVERY) {
            tokio::join!(until_accepted(&meta, &body, &answers), until_accepted(&meta, &body, &answers));
        } else {
            until_accepted(&meta, &body, &answers).await;
        }
    }
    0
}

/// A service dies and is started again, on the same port with the same data.
async fn fall(service: Arc<Service>) {
    service.kill().await;
    service.start_again().await;
}

/// Redis forgets everything; whether it heard is its own affair.
async fn flush(address: String) {
    let Ok(mut redis) = tokio::net::TcpStream::connect(address).await else { return };
    let mut answer = [0; 5];
    if redis.write_all(b"FLUSHALL\r\n").await.is_ok() && redis.read_exact(&mut answer).await.is_ok() {
        assert_eq!(&answer, b"+OK\r\n");
    }
}

fn address(service: &Service) -> String {
    let url = reqwest::Url::parse(service.url()).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_killed_in_turn_and_nothing_is_lost_doubled_or_out_of_order() {
    let services = tokio::join!(Service::start(AMQP), Service::start(POSTGRES), Service::start(REDIS));
    let (Some(broker), Some(database), Some(redis)) = services else { return };
    let (broker, database) = (Arc::new(broker), Arc::new(database));
    let sets = vec![
        format!("bus.url={}", with_names_of_its_own(broker.url())),
        format!("store.url={}", database.url()),
        format!("kv.url={}", redis.url()),
    ];
    let mut world = World::start(Kind::Split, Options { sets, ..Options::default() }).await;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Answers::default()));
    let mut customers = JoinSet::new();
    for customer in 0..CUSTOMERS {
        let written = writes(world.meta(), customer, Arc::clone(&stop), Arc::clone(&answers));
        customers.spawn(async move { (customer, written.await) });
    }

    let plan = Plan::read();
    let (mut falls, mut kills) = (JoinSet::new(), BTreeMap::<&str, u64>::new());
    let mut turn = PROCESSES.iter().cycle();
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    for second in 0..plan.seconds {
        clock.tick().await;
        // As a supervisor does with those that gave up, because a service was away at their start.
        world.spawn_again();
        if plan.process.is_due(second) {
            let name = turn.next().expect("there is a next one");
            world.process(name).kill().await;
            world.spawn();
            *kills.entry(name).or_default() += 1;
        }
        if plan.broker.is_due(second) {
            falls.spawn(fall(Arc::clone(&broker)));
            *kills.entry("broker").or_default() += 1;
        }
        if plan.database.is_due(second) {
            falls.spawn(fall(Arc::clone(&database)));
            *kills.entry("database").or_default() += 1;
        }
        if plan.redis.is_due(second) {
            flush(address(&redis)).await;
            *kills.entry("Redis, flushed").or_default() += 1;
        }
        if second % 10 == 9 {
            let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
            println!(
                "{} s of {}: {} times 200, {} times 503, {} without an answer",
                second + 1,
                plan.seconds,
                count(&answers.accepted),
                count(&answers.refused),
                count(&answers.lost)
            );
        }
    }
    while let Some(fallen) = falls.join_next().await {
        fallen.expect("it is started again");
    }
    world.spawn_again();
    world.run().await;
    let recovered = Instant::now();
    stop.store(true, Ordering::SeqCst);
    let mut written = BTreeMap::new();
    while let Some(customer) = customers.join_next().await {
        let (customer, count) = customer.expect("no panic");
        written.insert(format!("SIEGE{customer}"), count);
    }
    let agent = world.agent("admin").await;
    world.settled(&agent).await;
    let took = recovered.elapsed();

    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for thread in agent.threads().await {
        for message in agent.messages(thread["id"].as_str().expect("an id")).await {
            let id = message["external_id"].as_str().expect("an id").trim_start_matches("wamid.").to_owned();
            let (customer, number) = id.split_once('.').expect("two parts");
            found.entry(customer.to_owned()).or_default().push(number.parse().expect("a number"));
        }
    }
    for (customer, count) in &written {
        let numbers = found.remove(customer).unwrap_or_default();
        assert_eq!(numbers, (0..*count).collect::<Vec<_>>(), "{customer}: each once, in order");
    }
    assert!(found.is_empty(), "nothing is there that nobody wrote");
    assert!(took < BACKLOG_GONE, "the backlog was gone after {took:?}");
    let all: u64 = written.values().sum();
    println!(
        "{} s, killed {kills:?}: {all} messages, each once and in order; nothing left {} ms after recovery",
        plan.seconds,
        took.as_millis()
    );
    world.finish().await;
}
