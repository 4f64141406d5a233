//! The contract on the embedded bus, and the clauses that are its own (B15, B16).

mod disk_full;
mod file;
mod limits;

use std::path::PathBuf;
use std::task::{Context, Waker};

use super::*;
use crate::bus::contract::{
    self, Fixture, Limits, Process, Role, SUBJECTS, TOPICS, drain, eventually, item, items, lease,
};

/// A directory, removed with the fixture that made it.
struct Directory {
    dir: PathBuf,
    _home: Option<tempfile::TempDir>,
}

impl Directory {
    async fn open_as(&self, options: Options) -> Result<Arc<dyn Bus>, BusError> {
        open(&self.dir, options, Clock::system(), TOPICS, SUBJECTS).await
    }

    fn file(&self) -> PathBuf {
        self.dir.join("bus.sqlite")
    }
}

#[async_trait]
impl Fixture for Directory {
    const CHILD: &'static str = concat!(module_path!(), "::child");

    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { dir: home.path().join("bus"), _home: Some(home) }
    }

    fn place(&self) -> String {
        self.dir.to_str().unwrap().to_owned()
    }

    fn at(place: &str) -> Self {
        Self { dir: place.into(), _home: None }
    }

    async fn open_with(&self, limits: Limits) -> Result<Arc<dyn Bus>, BusError> {
        let default = Options::default();
        let options = Options {
            items_max: limits.items_max.unwrap_or(default.items_max),
            bytes_max: limits.bytes_max.unwrap_or(default.bytes_max),
            // A machine may well keep its temporary files in memory; here only processes die.
            volatile_allowed: true,
            ..default
        };
        self.open_as(options).await
    }
}

contract::bus_contract!(Directory);

#[tokio::test]
async fn b16_a_second_process_is_refused() {
    let fixture = Directory::new().await;
    let mut other = Process::start(&fixture, Role::Hold);
    assert_eq!(other.hear().await, "open");
    let refused = fixture.open_with(Limits::default()).await.map(|_| ()).unwrap_err();
    assert!(matches!(&refused, BusError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("another process already uses"), "{refused}");
    other.kill().await;
    fixture.open().await.close().await;
}

#[tokio::test]
async fn b16_a_second_opening_in_the_same_process_is_refused_too() {
    let fixture = Directory::new().await;
    let bus = fixture.open().await;
    assert!(matches!(fixture.open_with(Limits::default()).await, Err(BusError::Refused(_))));
    bus.close().await;
    fixture.open().await.close().await;
}

#[tokio::test]
async fn only_so_many_numbers_ahead_of_what_was_leased_are_marked_after_a_crash() {
    let fixture = Directory::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &items(1000, 1000)).await.unwrap();
    bus.close().await;
    drop(bus);
    let mut process = Process::start(&fixture, Role::Lease);
    let held = process.hear_many(10).await;
    process.kill().await;
    let bus = fixture.open().await;
    let came = drain(&*bus, "line", "crew").await;
    let marked: Vec<_> = came.iter().filter(|(_, before)| *before).map(|(item, _)| &item.id).collect();
    assert_eq!(marked[..10], held.iter().collect::<Vec<_>>());
    assert!(marked.len() <= 10 + usize::try_from(MARK_AHEAD).unwrap(), "{}", marked.len());
    bus.close().await;
}

#[tokio::test]
async fn what_is_published_after_a_crash_is_not_marked_by_it() {
    let fixture = Directory::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &items(10, 10)).await.unwrap();
    bus.close().await;
    drop(bus);
    let mut process = Process::start(&fixture, Role::Acknowledge);
    process.hear_many(10).await;
    contract::pass(Duration::from_secs(1)).await;
    process.kill().await;
    let mut process = Process::start(&fixture, Role::Publish);
    process.hear_many(20).await;
    process.kill().await;
    let bus = fixture.open().await;
    let came = drain(&*bus, "line", "crew").await;
    assert!(came.len() >= 20);
    assert!(came.iter().all(|(_, before)| !before), "new items got numbers beyond the old mark");
    bus.close().await;
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_read_back_from_the_file() {
    let fixture = Directory::new().await;
    let options = Options { cache_bytes: 2000, volatile_allowed: true, ..Options::default() };
    let bus = fixture.open_as(options).await.unwrap();
    let all = items(300, 300);
    bus.publish("line", &all).await.unwrap();
    assert_eq!(bus.peek("line", "crew", 300).await.unwrap(), all);
    // A lease that is cancelled while it reads gives everything back as it was.
    for _ in 0..20 {
        let mut cancelled = std::pin::pin!(bus.lease("line", "crew", 64));
        let polled = cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    let came = drain(&*bus, "line", "crew").await;
    assert_eq!(came, all.into_iter().map(|item| (item, false)).collect::<Vec<_>>());
    bus.close().await;
}

#[tokio::test]
async fn a_lease_takes_no_more_payload_than_its_limit() {
    let fixture = Directory::new().await;
    let bus = fixture.open().await;
    let large = |number| Item { payload: vec![1; PAYLOAD_BYTES_MAX].into(), ..item(number, number) };
    for number in 0..20 {
        bus.publish("line", &[large(number)]).await.unwrap();
    }
    let leases = lease(&*bus, "line", "crew", 100).await;
    assert_eq!(leases.len() as u64, LEASE_BYTES_MAX / PAYLOAD_BYTES_MAX as u64);
    bus.close().await;
}

#[tokio::test]
async fn only_so_many_questions_wait() {
    let fixture = Directory::new().await;
    let bus = fixture.open().await;
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..questions::WAITING_MAX {
        let bus = Arc::clone(&bus);
        askers.spawn(async move {
            // The ask that watches below may be in the way for a moment.
            while let Err(BusError::Full(_)) = bus.ask("counter", Bytes::new(), Duration::from_mins(1)).await
            {
                tokio::task::yield_now().await;
            }
        });
    }
    let short = Duration::from_millis(1);
    eventually("the subject is full", || async {
        matches!(bus.ask("counter", Bytes::new(), short).await, Err(BusError::Full(_)))
    })
    .await;
    // Those that are given up make room.
    askers.shutdown().await;
    assert!(matches!(bus.ask("counter", Bytes::new(), short).await, Err(BusError::Deadline)));
    bus.close().await;
}

#[tokio::test]
async fn a_bus_that_is_dropped_without_being_closed_ends_in_order_too() {
    let fixture = Directory::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &items(4, 4)).await.unwrap();
    contract::lease_one(&*bus, "line", "crew").await.ack().await.unwrap();
    drop(bus);
    let opened = Mutex::new(None);
    eventually("the directory is free again", || async {
        let again = fixture.open_with(Limits::default()).await.ok();
        opened.lock().unwrap().insert(again).is_some()
    })
    .await;
    let bus = opened.into_inner().unwrap().flatten().unwrap();
    let came = drain(&*bus, "line", "crew").await;
    assert_eq!(came, items(4, 4)[1..].iter().map(|item| (item.clone(), false)).collect::<Vec<_>>());
    bus.close().await;
}

#[tokio::test]
async fn a_publish_ends_at_its_deadline_when_the_file_does_not_answer() {
    let lane = Arc::new(Lane::new(1, "line", "crew", 0, &Arc::new(Cache::new(0)), &Options::default()));
    let (ops, stuck) = mpsc::channel(1);
    let bus = Embedded {
        shared: Arc::new(Shared::new(Clock::system(), vec![Arc::clone(&lane)])),
        topics: HashMap::from([("line".to_owned(), Arc::from([lane]))]),
        subjects: HashMap::new(),
        ops,
        tasks: Tasks::new(),
        dir: "bus".into(),
        durability_is_relaxed: false,
    };
    let one = [item(1, 1)];
    let both = async { tokio::join!(bus.publish("line", &one), bus.publish("line", &one)) };
    let (taken, queued) = tokio::time::timeout(PUBLISH_DEADLINE * 2, both).await.unwrap();
    assert!(matches!(taken, Err(BusError::Deadline)), "one that the writer has: {taken:?}");
    assert!(matches!(queued, Err(BusError::Deadline)), "one that found the queue full: {queued:?}");
    drop(stuck);
    assert!(matches!(bus.publish("line", &one).await, Err(BusError::Unavailable(_))));
}
