//! The one task that owns the file: what is published while a commit runs goes into the next one,
//! so that any number of publishers share one sync of the disk.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loket_protocol::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::disk::Disk;
use super::file::{BusFile, FileError, NewRow};
use super::lane::Room;
use crate::bus::{BusError, Item};
use crate::failpoint;
use crate::random;

/// How many publishes and reads may wait for the writer.
pub(super) const QUEUE_MAX: usize = 1024;
/// How many operations share a commit.
const TURN_OPS_MAX: usize = 200;
/// No more is added to a commit that already has this many bytes of payload.
const TURN_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How long an acknowledgement waits for a commit to ride on; a fifth of what B5 allows.
const ACK_LINGER: Duration = Duration::from_millis(200);
/// So many acknowledgements do not wait any longer.
pub(super) const ACKS_URGENT: usize = 1000;
/// How many acknowledged rows one commit deletes.
const TURN_ACKS_MAX: usize = 10_000;
/// How often a full disk is looked at again.
const FULL_PROBE: Duration = Duration::from_secs(1);
/// How long the bus must have been quiet before deleted space is given back to the disk.
const QUIET: Duration = Duration::from_secs(1);
/// The first pause before a file that failed is opened again, and the longest.
const REOPEN_BASE_MS: u64 = 100;
const REOPEN_MS_MAX: u64 = 10_000;

/// What is asked of the writer.
pub(super) enum Op {
    Publish(Publish),
    Read(Read),
}

/// Items on their way into the file.
pub(super) struct Publish {
    pub(super) room: Room,
    pub(super) items: Vec<Arc<Item>>,
    pub(super) bytes: u64,
    pub(super) done: oneshot::Sender<Result<(), BusError>>,
}

/// Items that are wanted back from the file.
pub(super) struct Read {
    pub(super) seqs: Vec<i64>,
    pub(super) answer: oneshot::Sender<Result<Vec<(i64, Item)>, BusError>>,
}

/// What one commit carries.
#[derive(Default)]
struct Turn {
    publishes: Vec<Publish>,
    reads: Vec<Read>,
    bytes: u64,
}

impl Turn {
    fn add(&mut self, op: Op) {
        match op {
            // A publisher that has given up will publish again: writing its items would only
            // double them.
            Op::Publish(publish) if publish.done.is_closed() => {}
            Op::Publish(publish) => {
                self.bytes = self.bytes.saturating_add(publish.bytes);
                self.publishes.push(publish);
            }
            Op::Read(read) => self.reads.push(read),
        }
    }

    fn has_room(&self) -> bool {
        self.publishes.len() + self.reads.len() < TURN_OPS_MAX && self.bytes < TURN_BYTES_MAX
    }
}

/// The owner of the file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ops: mpsc::Receiver<Op>,
    disk: Disk,
    path: PathBuf,
    /// None after a failure, until it is opened again.
    file: Option<BusFile>,
    next_seq: i64,
    disk_full: bool,
    probe_at: Option<Instant>,
    tidy_at: Option<Instant>,
    reopen_at: Option<Instant>,
    reopens_failed: u32,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        ops: mpsc::Receiver<Op>,
        disk: Disk,
        file: BusFile,
        next_seq: i64,
        disk_full: bool,
    ) -> Self {
        let path = disk.file();
        let mut writer = Self {
            shared,
            ops,
            disk,
            path,
            file: Some(file),
            next_seq,
            disk_full: false,
            probe_at: None,
            tidy_at: None,
            reopen_at: None,
            reopens_failed: 0,
        };
        if disk_full {
            writer.disk.drop_ballast();
            writer.note_full();
        }
        writer
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        // However this task ends, nobody may wait for it any more.
        let _closed = self.shared.closed.clone().drop_guard();
        let shared = Arc::clone(&self.shared);
        loop {
            let mut turn = Turn::default();
            let due = self.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                op = self.ops.recv() => match op {
                    Some(op) => turn.add(op),
                    None => break,
                },
                () = shared.work.notified() => {}
                () = pause(due) => {}
            }
            // Publishers that the last commit has just woken get their turn first, so that they share
            // the next one. Nobody waits for them.
            tokio::task::yield_now().await;
            self.fill(&mut turn);
            self.turn(turn).await;
        }
        self.end().await;
    }

    fn fill(&mut self, turn: &mut Turn) {
        while turn.has_room() {
            let Ok(op) = self.ops.try_recv() else { return };
            turn.add(op);
        }
    }

    /// How long there is nothing to do unless something is asked; `None`: for ever.
    fn due(&self) -> Option<Duration> {
        let due = if self.file.is_none() {
            self.reopen_at
        } else {
            let acks = self.shared.pending().since.map(|since| since + self.linger());
            [acks, self.probe_at, self.tidy_at].into_iter().flatten().min()
        };
        due.map(|due| due.saturating_duration_since(self.shared.clock.instant()))
    }

    fn linger(&self) -> Duration {
        if self.disk_full { FULL_PROBE } else { ACK_LINGER }
    }

    async fn turn(&mut self, turn: Turn) {
        if self.file.is_none() && passed(self.reopen_at, self.shared.clock.instant()) {
            self.reopen().await;
        }
        for Read { seqs, answer } in turn.reads {
            let found = self.read(&seqs).await;
            // A lease that was cancelled meanwhile has given its items back by itself.
            let _ = answer.send(found);
        }
        let now = self.shared.clock.instant();
        let acks = {
            let pending = self.shared.pending();
            let lingered = pending.since.is_some_and(|since| now.duration_since(since) >= self.linger());
            lingered || (pending.seqs.len() >= ACKS_URGENT && !self.disk_full)
        };
        let marks = self.shared.take_mark_urgent();
        if !turn.publishes.is_empty() || acks || marks {
            self.commit(turn.publishes).await;
            return;
        }
        if self.disk_full && passed(self.probe_at, now) {
            self.probe();
        }
        if passed(self.tidy_at, now) {
            self.tidy().await;
        }
    }

    async fn read(&mut self, seqs: &[i64]) -> Result<Vec<(i64, Item)>, BusError> {
        let Some(file) = self.file.as_mut() else { return Err(self.shared.unavailable()) };
        match file.read(seqs).await {
            Ok(items) => Ok(items),
            Err(error) => {
                let sentence = error.to_string();
                self.fail(&error).await;
                Err(BusError::Unavailable(sentence))
            }
        }
    }

    async fn commit(&mut self, publishes: Vec<Publish>) {
        let refused = self.shared.refusal();
        if let Some(refused) = refused.filter(|_| !publishes.is_empty()) {
            for publish in publishes {
                answer(publish, Err(BusError::Unavailable(refused.clone())));
            }
            return Box::pin(self.commit(Vec::new())).await;
        }
        let Some(file) = self.file.as_mut() else { return };
        let at = self.shared.clock.now();
        let (rows, firsts) = number_rows(&mut self.next_seq, at, &publishes);
        let deletes = self.shared.take_acks(TURN_ACKS_MAX);
        let marks: Vec<_> = self.shared.lanes.iter().filter_map(|l| Some((l, l.mark_to_write()?))).collect();
        let mark_rows: Vec<_> = marks.iter().map(|(lane, mark)| (lane.number, *mark)).collect();
        if rows.is_empty() && deletes.is_empty() && marks.is_empty() {
            return;
        }
        let begun = self.shared.clock.instant();
        let written = file.commit(&rows, &deletes, &mark_rows).await;
        let took = self.shared.clock.instant().duration_since(begun);
        metrics::histogram!("loket_bus_commit_seconds").record(took.as_secs_f64());
        match written {
            Ok(()) => {
                if !rows.is_empty() {
                    #[expect(clippy::cast_precision_loss, reason = "a count for a histogram")]
                    metrics::histogram!("loket_bus_commit_items").record(rows.len() as f64);
                }
                for (lane, mark) in marks {
                    lane.mark_written(mark);
                }
                if !deletes.is_empty() {
                    metrics::counter!("loket_bus_acked_total").increment(deletes.len() as u64);
                    self.tidy_at = Some(self.shared.clock.instant() + QUIET);
                }
                for (publish, first) in publishes.into_iter().zip(firsts) {
                    admit(publish, first, at);
                }
            }
            Err(error) => {
                drop(marks);
                self.shared.put_acks_back(deletes);
                let sentence = error.to_string();
                let full = matches!(error, FileError::Full);
                self.fail(&error).await;
                let had_rows = !rows.is_empty();
                for publish in publishes {
                    answer(publish, Err(BusError::Unavailable(sentence.clone())));
                }
                if full && had_rows {
                    Box::pin(self.commit(Vec::new())).await;
                }
            }
        }
    }

    async fn fail(&mut self, error: &FileError) {
        metrics::counter!("loket_bus_commit_failures_total").increment(1);
        if matches!(error, FileError::Full) {
            self.disk.drop_ballast();
            self.note_full();
            return;
        }
        tracing::error!(%error, "the file of the bus failed; it is closed and opened again");
        self.shared.refuse(Some(format!("{error}; it is being opened again")));
        if let Some(file) = self.file.take() {
            file.close().await;
        }
        self.reopen_later();
    }

    fn note_full(&mut self) {
        if !self.disk_full {
            tracing::error!(path = %self.path.display(), "the disk of the bus is full; publishing is refused");
        }
        self.disk_full = true;
        metrics::gauge!("loket_bus_disk_full").set(1.0);
        self.probe_at = Some(self.shared.clock.instant() + FULL_PROBE);
        self.shared.refuse(Some("the disk is full".to_owned()));
    }

    /// Looks whether the disk has room again: room for a new ballast is the measure.
    fn probe(&mut self) {
        self.probe_at = Some(self.shared.clock.instant() + FULL_PROBE);
        if self.disk.ensure_ballast() {
            tracing::warn!("the disk of the bus has room again; publishing goes on");
            self.disk_full = false;
            self.probe_at = None;
            metrics::gauge!("loket_bus_disk_full").set(0.0);
            self.shared.refuse(None);
        }
    }

    async fn tidy(&mut self) {
        self.tidy_at = None;
        let Some(file) = self.file.as_mut() else { return };
        failpoint!("bus.embedded.trim.before");
        let tidied = file.tidy().await;
        failpoint!("bus.embedded.trim.after");
        match tidied {
            Ok(true) => self.tidy_at = Some(self.shared.clock.instant()),
            Ok(false) => {}
            Err(error) => self.fail(&error).await,
        }
    }

    fn reopen_later(&mut self) {
        let cap = REOPEN_BASE_MS.saturating_mul(1 << self.reopens_failed.min(10)).min(REOPEN_MS_MAX);
        let pause = Duration::from_millis(random::jitter_ms(cap));
        self.reopen_at = Some(self.shared.clock.instant() + pause);
        self.reopens_failed = self.reopens_failed.saturating_add(1);
    }

    /// Opens the file again, folds its log into it under a new sync, and believes what it says.
    async fn reopen(&mut self) {
        self.reopen_at = None;
        match self.reopened().await {
            Ok(file) => {
                tracing::warn!("the file of the bus is open again");
                metrics::counter!("loket_bus_reopened_total").increment(1);
                self.file = Some(file);
                self.reopens_failed = 0;
                self.shared.refuse(None);
                if self.disk_full {
                    self.note_full();
                }
            }
            Err(FileError::Full) => {
                self.disk.drop_ballast();
                self.note_full();
                self.reopen_later();
            }
            Err(error) => {
                tracing::error!(%error, "the file of the bus cannot be opened again");
                self.shared.refuse(Some(error.to_string()));
                self.reopen_later();
            }
        }
    }

    async fn reopened(&self) -> Result<BusFile, FileError> {
        let lanes: Vec<_> =
            self.shared.lanes.iter().map(|lane| (lane.topic.as_str(), lane.group.as_str())).collect();
        let mut file = BusFile::open(&self.path, &lanes, self.shared.clock.now()).await?;
        file.fold().await?;
        let mut known: HashSet<i64> = self.shared.lanes.iter().flat_map(|lane| lane.seqs()).collect();
        let declared: HashSet<i64> = self.shared.lanes.iter().map(|lane| lane.number).collect();
        let mut strays = Vec::new();
        file.items(|found| {
            if !known.remove(&found.seq) && declared.contains(&found.lane) {
                strays.push(found.seq);
            }
        })
        .await?;
        // Strays are acknowledged already, or belong to a publish that was answered with an error and
        // was written all the same: its publisher repeats it.
        self.shared.put_acks_back(strays);
        for seq in &known {
            tracing::error!(seq, "an item is no longer in the file of the bus");
            metrics::counter!("loket_bus_lost_items_total").increment(1);
            for lane in &self.shared.lanes {
                lane.forget(*seq);
            }
        }
        Ok(file)
    }

    /// The orderly end: everything that was accepted is committed, and the file knows exactly what
    /// was leased.
    async fn end(&mut self) {
        self.shared.closed.cancel();
        self.ops.close();
        loop {
            let mut turn = Turn::default();
            self.fill(&mut turn);
            if turn.publishes.is_empty() && turn.reads.is_empty() {
                break;
            }
            self.turn(turn).await;
        }
        let deletes = self.shared.close_acks();
        let Some(mut file) = self.file.take() else { return };
        let leased: Vec<i64> = self.shared.lanes.iter().flat_map(|lane| lane.flagged()).collect();
        let settled = match file.settle(&deletes, &leased).await {
            Err(FileError::Full) if self.disk.drop_ballast() => file.settle(&deletes, &leased).await,
            other => other,
        };
        if let Err(error) = settled {
            tracing::error!(%error, "the bus could not write down its end; some items will be seen again");
        } else if let Err(error) = file.fold().await {
            tracing::warn!(%error, "the log of the bus could not be folded into its file; the next start does it");
        }
        file.close().await;
    }
}

fn passed(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

async fn pause(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// Rows for every item in every lane of its topic, and the first number of each publish.
fn number_rows(next_seq: &mut i64, at: Timestamp, publishes: &[Publish]) -> (Vec<NewRow>, Vec<i64>) {
    let mut rows = Vec::new();
    let mut firsts = Vec::with_capacity(publishes.len());
    for publish in publishes {
        firsts.push(*next_seq);
        for item in &publish.items {
            for lane in publish.room.lanes() {
                rows.push(NewRow { seq: *next_seq, lane: lane.number, at, item: Arc::clone(item) });
                *next_seq += 1;
            }
        }
    }
    (rows, firsts)
}

fn admit(publish: Publish, first: i64, at: Timestamp) {
    let lanes = publish.room.lanes();
    let step = i64::try_from(lanes.len()).unwrap_or(i64::MAX);
    for (lane, first) in lanes.iter().zip(first..) {
        metrics::counter!("loket_bus_published_total", "topic" => lane.topic.clone())
            .increment(publish.items.len() as u64);
        lane.admit(first, step, at, &publish.items);
    }
    answer(publish, Ok(()));
}

fn answer(publish: Publish, result: Result<(), BusError>) {
    let Publish { room, done, .. } = publish;
    // First the room, so that a publisher that goes on at once finds it free.
    drop(room);
    // A publisher that has given up meanwhile publishes again, and the repeat is absorbed.
    let _ = done.send(result);
}
