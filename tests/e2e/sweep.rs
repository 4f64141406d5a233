//! The crash sweep: for each failpoint the process ends itself there, is started again, and what was not
//! answered is repeated. In the end nothing is lost and nothing doubled, `loket verify` included.
//!
//! Points follow each other in one installation, so that each crash also meets what the ones before left
//! behind. `LOKET_SWEEP_PASSES=20` is the long form: each point on its first 20 passes.

use std::time::{Duration, Instant};

use loket_backbone::failpoint::POINTS;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{Kind, Options, PHONE_NUMBER, Promised, Talk, World, journeys, riddles};

journeys!(a_crash_at_any_point_loses_nothing_and_doubles_nothing);

/// How many installations the points are divided over in the short form.
const WORLDS: usize = 6;
/// The passes of the short form.
const PASSES: [u32; 2] = [1, 3];
/// How many of them are at work at once.
const AT_ONCE: usize = 2;
/// How many conversations go on at each crash. What a crash leaves without an answer holds up its own
/// conversation for two minutes, so each crash has new ones.
const CUSTOMERS: usize = 4;
/// Between two messages of a conversation.
const PAUSE: Duration = Duration::from_millis(100);
/// The same for a place that is passed only once all is quiet.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// How many crashes follow each other before the hub may come to rest: at its fifth death with the same
/// item in hand it would park that item, innocent or not (`reliability-contract` §7).
const IN_A_ROW: usize = 4;
/// How long a place may stay without being passed.
const REACHED: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
struct Crash {
    point: &'static str,
    pass: u32,
}

impl Crash {
    fn is_at_start(self) -> bool {
        self.point.starts_with("migrate.")
    }

    /// It is passed only once the bus had nothing to do for a second.
    fn needs_quiet(self) -> bool {
        self.point.starts_with("bus.embedded.trim")
    }

    fn pause(self) -> Duration {
        if self.needs_quiet() { LONG_PAUSE } else { PAUSE }
    }

    /// Several would leave no second without a word.
    fn customers(self) -> usize {
        if self.needs_quiet() { 1 } else { CUSTOMERS }
    }
}

/// The places that a world's road leads past. The short form walks the whole road on embedded backends, and
/// elsewhere the part that is different there.
fn points(kind: Kind, passes: Option<u32>) -> Vec<&'static str> {
    let rooms: &[&str] = match (kind, passes) {
        (Kind::Services, None) => &["bus.amqp."],
        (Kind::Split, None) => &["hub.ingest.", "hub.claim.", "sender."],
        _ => &[""],
    };
    let elsewhere = if kind == Kind::Embedded { "bus.amqp." } else { "bus.embedded." };
    let points = POINTS.iter().copied().filter(|point| !point.starts_with(elsewhere));
    points.filter(|point| rooms.iter().any(|room| point.starts_with(room))).collect()
}

/// The crashes of each installation.
fn plan(kind: Kind, passes: Option<u32>) -> Vec<Vec<Crash>> {
    let points = points(kind, passes);
    let Some(passes) = passes else {
        let count = WORLDS.min(points.len().div_ceil(WORLDS));
        let mut worlds = vec![Vec::new(); count];
        for (place, point) in points.into_iter().enumerate() {
            worlds[place % count].extend(crashes(point, PASSES));
        }
        return worlds;
    };
    points.into_iter().map(|point| crashes(point, 1..=passes).collect()).collect()
}

fn crashes(point: &'static str, passes: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Crash> {
    let crashes = passes.into_iter().map(move |pass| Crash { point, pass });
    // What is passed once at each start has no second pass.
    crashes.filter(|crash| crash.pass == 1 || !crash.is_at_start())
}

fn passes() -> Option<u32> {
    std::env::var("LOKET_SWEEP_PASSES").ok().map(|text| text.parse().expect("a number of passes"))
}

/// One installation and its crashes, one after the other.
#[expect(clippy::print_stdout, reason = "who runs the long form wants to see how far it is")]
async fn sweep(kind: Kind, number: usize, crashes: Vec<Crash>) {
    let mut world = World::start(kind, Options { simulator: true, ..Options::default() }).await;
    let (agent, phones) = (world.agent("admin").await, world.simulator().clone());
    phones.hurries().await;
    world.stop().await;
    let mut talks: JoinSet<Promised> = JoinSet::new();
    for (place, crash) in crashes.iter().enumerate() {
        let began = Instant::now();
        // Where there are several processes the others die too, to be told of the next place.
        world.kill().await;
        world.arm(&format!("{}=abort@{}", crash.point, crash.pass));
        world.spawn();
        let stop = CancellationToken::new();
        let talk =
            Talk { phones: phones.clone(), agent: agent.clone(), pause: crash.pause(), stop: stop.clone() };
        for customer in 0..crash.customers() {
            talks.spawn(talk.clone().hold(format!("klant-{place}.{customer}"), usize::MAX));
        }
        if !crash.needs_quiet() {
            talks.spawn(riddles(world.meta(), format!("R{place}."), crash.pause(), stop.clone()));
        }
        let aborted = world.aborts(REACHED + crash.pause() * crash.pass).await;
        assert!(aborted, "{} was not passed {} times\n{}", crash.point, crash.pass, world.log());
        stop.cancel();
        println!(
            "world {number}, crash {} of {}: {} on pass {}, after {} ms",
            place + 1,
            crashes.len(),
            crash.point,
            crash.pass,
            began.elapsed().as_millis()
        );
        if (place + 1) % IN_A_ROW == 0 {
            world.kill().await;
            world.arm("");
            world.run().await;
            world.settled(&agent).await;
        }
    }
    world.kill().await;
    world.arm("");
    world.run().await;
    let mut promised = Promised::default();
    while let Some(talk) = talks.join_next().await {
        promised.add(talk.expect("no panic"));
    }
    phones.has_told_all().await;
    world.settled(&agent).await;
    world.keeps(&agent, &promised).await;
    let sent = phones.copies().await.len();
    let (said, answered) = (promised.from_customers.len(), promised.answers.len());
    world.finish().await;
    println!("world {number}: {} crashes, {said} messages in, {answered} out, {sent} sent", crashes.len());
}

async fn a_crash_at_any_point_loses_nothing_and_doubles_nothing(kind: Kind) {
    let mut underway = JoinSet::new();
    for (number, crashes) in plan(kind, passes()).into_iter().enumerate() {
        if underway.len() == AT_ONCE {
            underway.join_next().await.expect("one is under way").expect("it is swept well");
        }
        underway.spawn(sweep(kind, number, crashes));
    }
    while let Some(swept) = underway.join_next().await {
        swept.expect("it is swept well");
    }
}

/// Rounds of each conversation while places fail.
const ROUNDS: usize = 10;

/// Every place that can fail fails on one of its passes, and the process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_at_any_point_loses_nothing_and_doubles_nothing() {
    let mut world = World::start(Kind::Embedded, Options { simulator: true, ..Options::default() }).await;
    let (agent, phones) = (world.agent("admin").await, world.simulator().clone());
    phones.hurries().await;
    let mut promised = Promised::default();
    for pass in [3, 5, 8] {
        world.stop().await;
        // A store that cannot be opened is refused at the start, as it should be.
        let points = POINTS.iter().filter(|point| !point.starts_with("migrate."));
        let errors: Vec<String> = points.map(|point| format!("{point}=error@{pass}")).collect();
        world.arm(&errors.join(","));
        world.run().await;
        let (stop, mut talks) = (CancellationToken::new(), JoinSet::new());
        let talk = Talk { phones: phones.clone(), agent: agent.clone(), pause: PAUSE, stop: stop.clone() };
        for customer in 0..CUSTOMERS {
            talks.spawn(talk.clone().hold(format!("klant-{pass}.{customer}"), ROUNDS));
        }
        let riddles = tokio::spawn(riddles(world.meta(), format!("E{pass}."), PAUSE, stop.clone()));
        while let Some(talk) = talks.join_next().await {
            promised.add(talk.expect("no panic"));
        }
        stop.cancel();
        promised.add(riddles.await.expect("no panic"));
    }
    phones.has_told_all().await;
    world.settled(&agent).await;
    world.keeps(&agent, &promised).await;
    let reached = world.log().matches("a failpoint is reached").count();
    assert!(reached > 2 * POINTS.len(), "only {reached} places were passed often enough");
    println!("{reached} places failed or were told to, {} messages out", promised.answers.len());
    world.finish().await;
}

/// As many messages as the hub takes at once.
const COMPANY: usize = 64;
/// The process dies once with the message in company, and then with it alone until its turns are over.
const DEATHS: u32 = 5;

/// A callback with one message each of many customers.
fn crowd(size: usize) -> String {
    let message = |number: usize| {
        json!({"from": format!("316{number:08}"), "id": format!("wamid.CROWD{number}"),
            "timestamp": "1795253400", "type": "text", "text": {"body": "hallo"}})
    };
    let messages: Vec<Value> = (0..size).map(message).collect();
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "12025550100", "phone_number_id": PHONE_NUMBER},
        "contacts": [],
        "messages": messages,
    });
    let change = json!({"field": "messages", "value": value});
    json!({"object": "whatsapp_business_account", "entry": [{"id": "215000000000101", "changes": [change]}]})
        .to_string()
}

/// A message that kills the process each time it is at work on it, with 63 others leased beside it: it is
/// parked, and no innocent with it.
#[tokio::test(flavor = "multi_thread")]
async fn one_poison_message_is_parked_and_no_innocent() {
    let mut world = World::start(Kind::Embedded, Options::default()).await;
    let agent = world.agent("admin").await;
    world.stop().await;
    // All of them lie on the bus before either worker takes the first.
    world.arm("hub.ingest.lease.before=stall@1,hub.ingest.lease.before=stall@2");
    world.run().await;
    assert_eq!(world.meta().post("whatsapp", crowd(COMPANY)).await, Some(200));
    world.kill().await;
    for death in 1..=DEATHS {
        world.arm("hub.ingest.message.before=abort@1");
        world.spawn();
        assert!(world.aborts(REACHED).await, "death {death} did not come\n{}", world.log());
    }
    world.arm("");
    world.run().await;
    world.settled(&agent).await;
    let threads = agent.threads().await;
    let shown = |kind: &str| {
        let is_shown = |thread: &&Value| thread["last_message"]["content"]["type"] == kind;
        threads.iter().filter(is_shown).count()
    };
    assert_eq!((shown("text"), shown("parked")), (COMPANY - 1, 1));
    world.stop().await;
    let list = world.command(&["parked", "list", "--json"]);
    let text = String::from_utf8(list.stdout).expect("UTF-8");
    let items: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["reason"], "poison");
    world.finish().await;
}
