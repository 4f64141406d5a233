//! The crash sweep: for each failpoint the process ends itself there, is started again, and what was not
//! answered is repeated. In the end nothing is lost and nothing doubled, `loket verify` included.
//!
//! Points follow each other in one installation, so that each crash also meets what the ones before left
//! behind. `LOKET_SWEEP_PASSES=20` is the long form: each point on its first 20 passes.

use std::time::{Duration, Instant};

use loket_backbone::failpoint::POINTS;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{Options, Promised, Talk, World, riddles};

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

    fn pause(self) -> Duration {
        if self.point.starts_with("bus.embedded.trim") { LONG_PAUSE } else { PAUSE }
    }
}

/// The crashes of each installation.
fn plan(passes: Option<u32>) -> Vec<Vec<Crash>> {
    let Some(passes) = passes else {
        let mut worlds = vec![Vec::new(); WORLDS];
        for (place, point) in POINTS.iter().enumerate() {
            worlds[place % WORLDS].extend(crashes(point, PASSES));
        }
        return worlds;
    };
    POINTS.iter().map(|point| crashes(point, 1..=passes).collect()).collect()
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
async fn sweep(number: usize, crashes: Vec<Crash>) {
    let mut world = World::start(Options { simulator: true, ..Options::default() }).await;
    let (agent, phones) = (world.agent("admin").await, world.simulator().clone());
    phones.hurries().await;
    world.stop().await;
    let mut talks: JoinSet<Promised> = JoinSet::new();
    for (place, crash) in crashes.iter().enumerate() {
        let began = Instant::now();
        world.arm(&format!("{}=abort@{}", crash.point, crash.pass));
        world.spawn();
        let stop = CancellationToken::new();
        let talk =
            Talk { phones: phones.clone(), agent: agent.clone(), pause: crash.pause(), stop: stop.clone() };
        for customer in 0..CUSTOMERS {
            talks.spawn(talk.clone().hold(format!("klant-{place}.{customer}"), usize::MAX));
        }
        talks.spawn(riddles(world.meta(), format!("R{place}."), crash.pause(), stop.clone()));
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
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_loses_nothing_and_doubles_nothing() {
    let mut underway = JoinSet::new();
    for (number, crashes) in plan(passes()).into_iter().enumerate() {
        if underway.len() == AT_ONCE {
            underway.join_next().await.expect("one is under way").expect("it is swept well");
        }
        underway.spawn(sweep(number, crashes));
    }
    while let Some(swept) = underway.join_next().await {
        swept.expect("it is swept well");
    }
}
