//! The embedded bus: a SQLite file of its own, for one process on one machine.
//!
//! An item is on disk before its publish returns (`reliability-contract` §1). Publishes that wait
//! at the same time share one commit. Which items wait and which are out is kept in memory and
//! read from the file at the start; payloads stay in memory up to [`Options::cache_bytes`] and are
//! read back from the file beyond that.
//!
//! That an item was leased before a crash is known without a sync per lease: the file keeps, per
//! topic and group, a mark that runs up to [`MARK_AHEAD`] numbers ahead of the highest number that
//! was leased and usually rides on a commit that happens anyway. After a crash every item up to the
//! mark counts as leased before; an orderly end writes the exact truth.
//!
//! Space of acknowledged items is used again by the next ones, and given back to the disk when the
//! bus is quiet. What is deliberately not here: several processes on one file (refused, B16), and
//! delays (waiting is a row in the store).

mod disk;
mod file;
mod lane;
mod questions;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::disk::Disk;
use self::file::{BusFile, FileError};
use self::lane::{Cache, Lane, Room, Taken};
use self::questions::Questions;
use self::writer::{ACKS_URGENT, Op, Publish, QUEUE_MAX, Read, Writer};
use super::{Bus, BusError, Depth, Item, Lease, PAYLOAD_BYTES_MAX, PUBLISH_DEADLINE};
use crate::clock::Clock;
use crate::failpoint;
use crate::tasks::Tasks;

/// How far the mark of leased numbers runs ahead.
pub const MARK_AHEAD: i64 = 256;
/// One call of lease or peek answers no more payload than this, unless a single item is larger.
const LEASE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a lease waits until the file knows of it. After that it goes on: consuming must not
/// stop because the disk does.
const MARK_WAIT: Duration = Duration::from_secs(1);
/// How long [`Bus::close`] waits for the last commit.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The limits of an embedded bus.
#[derive(Clone, Debug)]
pub struct Options {
    /// Items per topic and group (`reliability-contract` §6).
    pub items_max: u64,
    /// Bytes of payload per topic and group (`reliability-contract` §6).
    pub bytes_max: u64,
    /// Memory for payloads that wait, over all topics.
    pub cache_bytes: u64,
    /// Space that is kept for the moment when the disk is full (`reliability-contract` §8).
    pub ballast_bytes: u64,
    /// Allows a file system that forgets, or one on the network. Nothing is durable then.
    pub volatile_allowed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            items_max: 1_000_000,
            bytes_max: 2 * 1024 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
            ballast_bytes: 16 * 1024 * 1024,
            volatile_allowed: false,
        }
    }
}

/// What the bus, its leases and its writer share.
struct Shared {
    clock: Clock,
    lanes: Vec<Arc<Lane>>,
    acks: Mutex<Acks>,
    /// Tells the writer that something other than a publish wants to be written.
    work: Notify,
    mark_urgent: AtomicBool,
    /// Why publishing is refused at the moment.
    refusal: Mutex<Option<String>>,
    /// The bus takes and gives nothing any more.
    closed: CancellationToken,
}

/// Numbers whose rows are to be deleted.
#[derive(Default)]
struct Acks {
    seqs: Vec<i64>,
    since: Option<Instant>,
    closed: bool,
}

impl Shared {
    fn new(clock: Clock, lanes: Vec<Arc<Lane>>) -> Self {
        Self {
            clock,
            lanes,
            acks: Mutex::default(),
            work: Notify::new(),
            mark_urgent: AtomicBool::new(false),
            refusal: Mutex::new(None),
            closed: CancellationToken::new(),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Acks> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledge(&self, seq: i64) -> Result<(), BusError> {
        let mut acks = self.pending();
        if acks.closed {
            return Err(BusError::Unavailable("it is closed; the item will be seen again".to_owned()));
        }
        acks.seqs.push(seq);
        let first = acks.since.is_none();
        if first {
            acks.since = Some(self.clock.instant());
        }
        if first || acks.seqs.len() == ACKS_URGENT {
            self.work.notify_one();
        }
        Ok(())
    }

    fn take_acks(&self, max: usize) -> Vec<i64> {
        let mut acks = self.pending();
        if acks.seqs.len() > max {
            return acks.seqs.drain(..max).collect();
        }
        acks.since = None;
        std::mem::take(&mut acks.seqs)
    }

    fn put_acks_back(&self, seqs: Vec<i64>) {
        if !seqs.is_empty() {
            let mut acks = self.pending();
            acks.seqs.extend(seqs);
            acks.since = Some(self.clock.instant());
        }
    }

    fn close_acks(&self) -> Vec<i64> {
        let mut acks = self.pending();
        acks.closed = true;
        acks.since = None;
        std::mem::take(&mut acks.seqs)
    }

    fn take_mark_urgent(&self) -> bool {
        self.mark_urgent.swap(false, Ordering::SeqCst)
    }

    fn refuse(&self, why: Option<String>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unavailable(&self) -> BusError {
        BusError::Unavailable(self.refusal().unwrap_or_else(|| "it is closed".to_owned()))
    }
}

struct Embedded {
    shared: Arc<Shared>,
    topics: HashMap<String, Arc<[Arc<Lane>]>>,
    subjects: HashMap<String, Arc<Questions>>,
    ops: mpsc::Sender<Op>,
    tasks: Tasks,
    dir: PathBuf,
    durability_is_relaxed: bool,
}

/// Opens the bus in the directory `dir`, which is made if need be, with these topics and subjects,
/// each with a group that hears it. Refused, with a sentence that names the file: a file that is
/// damaged, foreign, of another layout, used by another process, or on a disk that forgets.
pub async fn open(
    dir: &Path,
    options: Options,
    clock: Clock,
    topics: &[(&str, &str)],
    subjects: &[(&str, &str)],
) -> Result<Arc<dyn Bus>, BusError> {
    let disk = Disk::claim(dir, &options)?;
    if options.volatile_allowed {
        tracing::warn!(dir = %dir.display(), "the bus may lie on a disk that forgets: durability is relaxed");
    }
    metrics::gauge!("loket_bus_durability_relaxed").set(if options.volatile_allowed { 1.0 } else { 0.0 });
    let begun = clock.instant();
    let mut file = match BusFile::open(&disk.file(), topics, clock.now()).await {
        Err(FileError::Full) if disk.drop_ballast() => BusFile::open(&disk.file(), topics, clock.now()).await,
        other => other,
    }
    .map_err(refused)?;
    let (lanes, next_seq) = load(&mut file, topics, &options).await.map_err(refused)?;
    // Without a ballast publishing would take the room that acknowledging needs.
    let disk_full = !file.writable || !disk.ensure_ballast();
    let items: u64 = lanes.iter().map(|lane| lane.depth(clock.now()).items).sum();
    let duration_ms = clock.instant().duration_since(begun).as_millis();
    tracing::info!(items, %duration_ms, dir = %dir.display(), "the bus is open");

    let mut by_topic: HashMap<String, Vec<Arc<Lane>>> = HashMap::new();
    for lane in &lanes {
        by_topic.entry(lane.topic.clone()).or_default().push(Arc::clone(lane));
    }
    let shared = Arc::new(Shared::new(clock, lanes));
    let (ops, asked) = mpsc::channel(QUEUE_MAX);
    let tasks = Tasks::new();
    let writer = Writer::new(Arc::clone(&shared), asked, disk, file, next_seq, disk_full);
    tasks.spawn("bus writer", writer.run(tasks.stop_sign()));
    Ok(Arc::new(Embedded {
        shared,
        topics: by_topic.into_iter().map(|(topic, lanes)| (topic, lanes.into())).collect(),
        subjects: subjects
            .iter()
            .map(|(subject, group)| ((*subject).to_owned(), Arc::new(Questions::new(subject, group))))
            .collect(),
        ops,
        tasks,
        dir: dir.to_owned(),
        durability_is_relaxed: options.volatile_allowed,
    }))
}

fn refused(error: FileError) -> BusError {
    match error {
        FileError::Refused(sentence) => BusError::Refused(sentence),
        other => BusError::Unavailable(other.to_string()),
    }
}

/// Reads which items wait, and the first number that was never used.
async fn load(
    file: &mut BusFile,
    topics: &[(&str, &str)],
    options: &Options,
) -> Result<(Vec<Arc<Lane>>, i64), FileError> {
    let cache = Arc::new(Cache::new(options.cache_bytes));
    let mut lanes = HashMap::new();
    let mut marks = HashMap::new();
    let mut last = 0;
    for found in file.lanes().await? {
        last = last.max(found.mark);
        if topics.contains(&(found.topic.as_str(), found.group.as_str())) {
            let lane = Lane::new(found.number, &found.topic, &found.group, found.mark, &cache, options);
            lanes.insert(found.number, Arc::new(lane));
            marks.insert(found.number, found.mark);
        }
    }
    let mut unheard = 0u64;
    file.items(|mut found| {
        last = last.max(found.seq);
        if let Some(lane) = lanes.get(&found.lane) {
            found.before |= marks.get(&found.lane).is_some_and(|mark| found.seq <= *mark);
            lane.restore(found);
        } else {
            unheard += 1;
        }
    })
    .await?;
    if unheard > 0 {
        tracing::warn!(items = unheard, "the bus holds items of topics that nobody declares any more");
    }
    Ok((lanes.into_values().collect(), last.saturating_add(1)))
}

impl Embedded {
    fn lanes(&self, topic: &str) -> Result<&Arc<[Arc<Lane>]>, BusError> {
        self.topics.get(topic).ok_or_else(|| BusError::Unroutable(topic.to_owned()))
    }

    fn lane(&self, topic: &str, group: &str) -> Result<&Arc<Lane>, BusError> {
        let lane = self.lanes(topic)?.iter().find(|lane| lane.group == group);
        lane.ok_or_else(|| BusError::Unroutable(format!("{topic} for group {group}")))
    }

    async fn read(&self, seqs: Vec<i64>) -> Result<HashMap<i64, Arc<Item>>, BusError> {
        if seqs.is_empty() {
            return Ok(HashMap::new());
        }
        let (answer, answered) = oneshot::channel();
        let asked = self.ops.send(Op::Read(Read { seqs, answer })).await;
        asked.map_err(|_| self.shared.unavailable())?;
        let items = answered.await.map_err(|_| self.shared.unavailable())??;
        Ok(items.into_iter().map(|(seq, item)| (seq, Arc::new(item))).collect())
    }

    async fn questions(
        &self,
        questions: &Arc<Questions>,
        max: usize,
    ) -> Result<Vec<Box<dyn Lease>>, BusError> {
        loop {
            let grown = questions.grown.notified();
            if self.shared.closed.is_cancelled() {
                return Err(self.shared.unavailable());
            }
            let taken = questions.take(max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                () = grown => {}
                () = self.shared.closed.cancelled() => {}
            }
        }
    }

    /// Makes leases of what was taken: tells the file, and fetches what is not in memory. When this
    /// is cancelled or fails, all of it goes back as if it had never been taken.
    async fn hand_out(&self, taken: Vec<Taken>) -> Result<Vec<Box<dyn Lease>>, BusError> {
        if let Some((lane, highest)) = taken.iter().map(|taken| (&taken.lane, taken.seq)).max_by_key(|t| t.1)
            && lane.will_lease(highest)
        {
            self.shared.mark_urgent.store(true, Ordering::SeqCst);
            self.shared.work.notify_one();
            if tokio::time::timeout(MARK_WAIT, lane.marked(highest)).await.is_err() {
                metrics::counter!("loket_bus_unmarked_leases_total").increment(1);
                tracing::warn!("the bus leases items that its file does not know to be leased");
            }
        }
        let missing = taken.iter().filter(|taken| taken.body.is_none()).map(|taken| taken.seq).collect();
        let mut read = self.read(missing).await?;
        let mut held = Vec::with_capacity(taken.len());
        for mut taken in taken {
            let item = taken.body.take().or_else(|| read.remove(&taken.seq));
            let Some(item) = item else {
                // Somebody else changed the file. One missing item must not hold up the others.
                tracing::error!(seq = taken.seq, "an item is no longer in the file of the bus");
                metrics::counter!("loket_bus_lost_items_total").increment(1);
                taken.settled = true;
                taken.lane.forget(taken.seq);
                continue;
            };
            held.push((taken, item));
        }
        let mut leases: Vec<Box<dyn Lease>> = Vec::with_capacity(held.len());
        for (mut taken, item) in held {
            if taken.before {
                metrics::counter!("loket_bus_redelivered_total", "topic" => taken.lane.topic.clone())
                    .increment(1);
            }
            // From here on giving it back means that somebody has seen it.
            taken.handed = true;
            leases.push(Box::new(ItemLease { shared: Arc::clone(&self.shared), taken, item }));
        }
        Ok(leases)
    }
}

#[async_trait]
impl Bus for Embedded {
    async fn publish(&self, topic: &str, items: &[Item]) -> Result<(), BusError> {
        let lanes = self.lanes(topic)?;
        if let Some(large) = items.iter().find(|item| item.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(BusError::TooLarge(large.payload.len()));
        }
        // Asked before anything else, so that publishing nothing tells whether one could publish.
        if let Some(refused) = self.shared.refusal() {
            return Err(BusError::Unavailable(refused));
        }
        if self.shared.closed.is_cancelled() {
            return Err(self.shared.unavailable());
        }
        if items.is_empty() {
            return Ok(());
        }
        let bytes = items.iter().map(|item| item.payload.len() as u64).sum();
        let room = Room::reserve(lanes, items.len() as u64, bytes)?;
        let items = items.iter().cloned().map(Arc::new).collect();
        let (done, written) = oneshot::channel();
        let publish = Op::Publish(Publish { room, items, bytes, done });
        let work = async {
            self.ops.send(publish).await.map_err(|_| self.shared.unavailable())?;
            written.await.unwrap_or_else(|_| Err(self.shared.unavailable()))
        };
        tokio::time::timeout(PUBLISH_DEADLINE, work).await.unwrap_or(Err(BusError::Deadline))
    }

    async fn lease(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Box<dyn Lease>>, BusError> {
        let max = max.max(1);
        if let Some(questions) = self.subjects.get(topic).filter(|questions| questions.group == group) {
            return self.questions(questions, max).await;
        }
        let lane = self.lane(topic, group)?;
        loop {
            let grown = lane.grown.notified();
            if self.shared.closed.is_cancelled() {
                return Err(self.shared.unavailable());
            }
            let taken = lane.take(max);
            if !taken.is_empty() {
                if lane.has_ready() {
                    lane.grown.notify_one();
                }
                let leases = self.hand_out(taken).await?;
                if !leases.is_empty() {
                    return Ok(leases);
                }
                continue;
            }
            tokio::select! {
                () = grown => {}
                () = self.shared.closed.cancelled() => {}
            }
        }
    }

    async fn ask(&self, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
        let questions = self.subjects.get(subject);
        let questions = questions.ok_or_else(|| BusError::Unroutable(subject.to_owned()))?;
        tokio::select! {
            answer = questions.ask(payload, deadline) => answer,
            () = self.shared.closed.cancelled() => Err(self.shared.unavailable()),
        }
    }

    async fn depth(&self, topic: &str, group: &str) -> Result<Depth, BusError> {
        let depth = self.lane(topic, group)?.depth(self.shared.clock.now());
        #[expect(clippy::cast_precision_loss, reason = "gauges for people")]
        for (name, value) in [
            ("loket_bus_depth_items", depth.items as f64),
            ("loket_bus_depth_leased", depth.leased as f64),
            ("loket_bus_depth_bytes", depth.bytes as f64),
            ("loket_bus_oldest_seconds", depth.oldest_age_ms as f64 / 1000.0),
        ] {
            metrics::gauge!(name, "topic" => topic.to_owned(), "group" => group.to_owned()).set(value);
        }
        Ok(depth)
    }

    async fn peek(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Item>, BusError> {
        let oldest = self.lane(topic, group)?.oldest(max);
        let missing = oldest.iter().filter(|(_, body)| body.is_none()).map(|(seq, _)| *seq).collect();
        let mut read = self.read(missing).await?;
        // What was acknowledged since is simply no longer among them.
        let items = oldest.into_iter().filter_map(|(seq, body)| body.or_else(|| read.remove(&seq)));
        Ok(items.map(|item| Item::clone(&item)).collect())
    }

    async fn close(&self) {
        for questions in self.subjects.values() {
            questions.clear();
        }
        if !self.tasks.stop(CLOSE_WAIT).await {
            tracing::error!("the bus did not close within {} s", CLOSE_WAIT.as_secs());
        }
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.dir)
    }

    fn durability_is_relaxed(&self) -> bool {
        self.durability_is_relaxed
    }
}

/// An item of a topic that somebody holds.
struct ItemLease {
    shared: Arc<Shared>,
    taken: Taken,
    item: Arc<Item>,
}

#[async_trait]
impl Lease for ItemLease {
    fn item(&self) -> &Item {
        &self.item
    }

    fn leased_before(&self) -> bool {
        self.taken.before
    }

    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        // First the row, then the memory: an item that the bus could not take the acknowledgement
        // of must still be known as leased.
        failpoint!("bus.embedded.ack.before", self.shared.unavailable());
        self.shared.acknowledge(self.taken.seq)?;
        failpoint!("bus.embedded.ack.after");
        self.taken.settled = true;
        self.taken.lane.forget(self.taken.seq);
        Ok(())
    }

    async fn nack(self: Box<Self>) -> Result<(), BusError> {
        drop(self);
        Ok(())
    }

    async fn reply(self: Box<Self>, _payload: Bytes) -> Result<(), BusError> {
        Err(BusError::Refused(format!("an item of topic {} takes no answer", self.taken.lane.topic)))
    }
}
