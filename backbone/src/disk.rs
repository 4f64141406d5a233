//! Room on the disks that this process writes to (`reliability-contract` §8): one watcher for all
//! roles of a process, so that everybody stops the same things at the same moment.
//!
//! Only directories of this machine are watched: what a broker or a database server does with its
//! disk is theirs to tell. Acknowledging, and everything else that gives space back, asks nobody.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::tasks::Tasks;

/// Below so many free bytes media and exports stop.
pub const LOW_BYTES: u64 = 256 * 1024 * 1024;
/// Below one part in so many they stop as well: 5 %.
pub const LOW_PART: u64 = 20;
/// Below so many free bytes callbacks are refused with 503 and writes over the API with 507.
pub const FULL_BYTES: u64 = 64 * 1024 * 1024;
/// How often the disks are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a lock that is held is tried again, and how long between.
const LOCK_TRIES: u32 = 50;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Locks a file for this process alone, as long as the file is open. A process that this one starts
/// holds its parent's files until it has become another program, so a lock that is held is tried
/// again for half a second.
pub fn lock_alone(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            outcome => return outcome,
        }
    }
    file.try_lock()
}

/// How much room there is, and so what still goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// Everything goes on.
    #[default]
    Enough,
    /// Under [`LOW_BYTES`] or one part in [`LOW_PART`]: what can wait stops, which is media and
    /// exports.
    Low,
    /// Under [`FULL_BYTES`]: nothing new is taken. Reading goes on, and giving space back.
    Full,
}

impl Room {
    const ALL: [Self; 3] = [Self::Enough, Self::Low, Self::Full];

    /// What a reading comes to.
    fn of(space: Space) -> Self {
        if space.free_bytes < FULL_BYTES {
            Self::Full
        } else if space.free_bytes < LOW_BYTES || space.free_bytes < space.size_bytes / LOW_PART {
            Self::Low
        } else {
            Self::Enough
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Enough => 0,
            Self::Low => 1,
            Self::Full => 2,
        }
    }
}

/// What one file system says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// What an ordinary user may still write, in bytes.
    pub free_bytes: u64,
    /// All there is, in bytes.
    pub size_bytes: u64,
}

impl Space {
    /// Asks the file system that `dir` is on.
    pub fn of(dir: &Path) -> std::io::Result<Self> {
        let told = rustix::fs::statvfs(dir)?;
        Ok(Self {
            free_bytes: told.f_bavail.saturating_mul(told.f_frsize),
            size_bytes: told.f_blocks.saturating_mul(told.f_frsize),
        })
    }
}

/// One watched directory, for `/health/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskState {
    /// What it holds: `bus` or `store`.
    pub holds: &'static str,
    /// How much room there is.
    pub room: Room,
    /// The last reading; absent when the disk could not be asked.
    #[serde(flatten)]
    pub space: Option<Space>,
}

type Read = Box<dyn Fn(&Path) -> std::io::Result<Space> + Send + Sync>;

/// The disks of one process. Cheap to clone; all clones see the same readings.
#[derive(Clone)]
pub struct Disks {
    inner: Arc<Inner>,
}

struct Inner {
    places: Vec<(&'static str, PathBuf)>,
    states: Mutex<Vec<DiskState>>,
    /// The rank of the scarcest of them, for those who ask with every request.
    worst: AtomicU8,
    read: Read,
}

impl Disks {
    /// Watches these directories, each with what it holds, and looks at them once at once.
    pub fn new(places: Vec<(&'static str, PathBuf)>) -> Self {
        Self::read_by(places, Space::of)
    }

    /// No directory of this machine: there is always room.
    pub fn none() -> Self {
        Self::new(Vec::new())
    }

    /// The same with readings of another source, for tests of the steps.
    pub fn read_by(
        places: Vec<(&'static str, PathBuf)>,
        read: impl Fn(&Path) -> std::io::Result<Space> + Send + Sync + 'static,
    ) -> Self {
        let unknown = |holds| DiskState { holds, room: Room::Enough, space: None };
        let states = places.iter().map(|(holds, _)| unknown(*holds)).collect();
        let inner =
            Inner { places, states: Mutex::new(states), worst: AtomicU8::new(0), read: Box::new(read) };
        let disks = Self { inner: Arc::new(inner) };
        disks.look();
        disks
    }

    /// Looks every [`LOOK_EVERY`] until the tasks are told to stop.
    pub fn start(&self, tasks: &Tasks) {
        if self.inner.places.is_empty() {
            return;
        }
        let (own, stop) = (self.clone(), tasks.stop_sign());
        tasks.spawn("disks", async move {
            loop {
                own.look();
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
    }

    /// Reads every disk now. A disk that cannot be asked keeps what was known of it: a reading that
    /// fails must neither open nor close anything.
    pub fn look(&self) {
        let mut states = self.inner.states.lock().unwrap_or_else(PoisonError::into_inner);
        for ((holds, dir), state) in self.inner.places.iter().zip(states.iter_mut()) {
            let before = state.clone();
            match (self.inner.read)(dir) {
                Ok(space) => {
                    *state = DiskState { holds, room: Room::of(space), space: Some(space) };
                    tell(&before, state, space);
                }
                Err(error) => {
                    if before.space.is_some() {
                        tracing::warn!(disk = holds, %error, "a disk cannot be asked how much room it has");
                    }
                    state.space = None;
                }
            }
        }
        let worst = states.iter().map(|state| state.room).max().unwrap_or_default();
        self.inner.worst.store(worst.rank(), Ordering::Relaxed);
    }

    /// How much room there is where there is least.
    pub fn room(&self) -> Room {
        let rank = self.inner.worst.load(Ordering::Relaxed);
        Room::ALL.into_iter().find(|room| room.rank() == rank).unwrap_or_default()
    }

    /// Whether nothing new may be taken.
    pub fn is_full(&self) -> bool {
        self.room() == Room::Full
    }

    /// What is known of each.
    pub fn states(&self) -> Vec<DiskState> {
        self.inner.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges for people")]
fn tell(before: &DiskState, now: &DiskState, space: Space) {
    metrics::gauge!("loket_disk_free_bytes", "disk" => now.holds).set(space.free_bytes as f64);
    metrics::gauge!("loket_disk_size_bytes", "disk" => now.holds).set(space.size_bytes as f64);
    metrics::gauge!("loket_disk_room", "disk" => now.holds).set(f64::from(now.room.rank()));
    if before.room == now.room {
        return;
    }
    let (disk, free_bytes) = (now.holds, space.free_bytes);
    match now.room {
        Room::Full => tracing::error!(
            disk,
            free_bytes,
            "the disk is nearly full: callbacks and writes are refused until there is room again"
        ),
        Room::Low => tracing::warn!(disk, free_bytes, "the disk is filling up; make room on it"),
        Room::Enough => tracing::info!(disk, free_bytes, "there is room on the disk again"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::AtomicU64;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;

    #[test]
    fn the_steps_are_at_64_mib_256_mib_and_5_percent() {
        for (free_bytes, size_bytes, room) in [
            (0, 500 * MIB, Room::Full),
            (64 * MIB - 1, GIB, Room::Full),
            (64 * MIB, GIB, Room::Low),
            (256 * MIB - 1, GIB, Room::Low),
            (256 * MIB, GIB, Room::Enough),
            (5 * GIB - 1, 100 * GIB, Room::Low),
            (5 * GIB, 100 * GIB, Room::Enough),
        ] {
            assert_eq!(Room::of(Space { free_bytes, size_bytes }), room, "{free_bytes} of {size_bytes}");
        }
    }

    #[test]
    fn the_scarcest_disk_decides_and_a_failing_reading_changes_nothing() {
        let (bus, store) = (Arc::new(AtomicU64::new(GIB)), Arc::new(AtomicU64::new(GIB)));
        let broken = u64::MAX;
        let (of_bus, of_store) = (Arc::clone(&bus), Arc::clone(&store));
        let disks = Disks::read_by(vec![("bus", "/bus".into()), ("store", "/store".into())], move |dir| {
            let free = if dir == Path::new("/bus") { &of_bus } else { &of_store };
            match free.load(Ordering::SeqCst) {
                gone if gone == broken => Err(std::io::Error::other("no such disk")),
                free_bytes => Ok(Space { free_bytes, size_bytes: 2 * GIB }),
            }
        });
        assert_eq!(disks.room(), Room::Enough);
        store.store(100 * MIB, Ordering::SeqCst);
        assert_eq!(disks.room(), Room::Enough, "nobody has looked yet");
        disks.look();
        assert_eq!(disks.room(), Room::Low);
        bus.store(MIB, Ordering::SeqCst);
        disks.look();
        assert!(disks.is_full());
        bus.store(broken, Ordering::SeqCst);
        disks.look();
        assert!(disks.is_full());
        let states = disks.states();
        assert_eq!((states[0].holds, states[0].room, states[0].space), ("bus", Room::Full, None));
        assert_eq!(states[1].space.map(|space| space.free_bytes), Some(100 * MIB));
        bus.store(GIB, Ordering::SeqCst);
        store.store(GIB, Ordering::SeqCst);
        disks.look();
        assert_eq!(disks.room(), Room::Enough);
    }

    #[tokio::test]
    async fn it_looks_by_itself_until_it_is_told_to_stop() {
        let looks = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&looks);
        let disks = Disks::read_by(vec![("bus", "/".into())], move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Space { free_bytes: GIB, size_bytes: GIB })
        });
        let tasks = Tasks::new();
        disks.start(&tasks);
        let twice = async {
            while looks.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), twice).await.unwrap();
        assert!(tasks.stop(Duration::from_secs(5)).await);
    }

    #[test]
    fn without_directories_there_is_always_room() {
        assert_eq!(Disks::none().room(), Room::Enough);
        assert!(Disks::none().states().is_empty());
    }

    /// What a watcher says of a file system in memory, before and after most of it is filled.
    #[test]
    fn a_real_disk_is_read_as_it_fills() {
        let exe = std::env::current_exe().unwrap();
        let home = tempfile::tempdir().unwrap();
        let story = r#"
            set -eu
            size() { mount -o "remount,size=$1" "$DISK"; }
            tell() { WATCH="$1" "$EXE" disk::tests::one_look --exact --ignored --nocapture; }
            mount -t tmpfs -o size=300m tmpfs "$DISK"
            tell enough
            size 70m
            tell low
            dd if=/dev/zero of="$DISK/filler" bs=1M count=8 2>/dev/null
            tell full
            rm "$DISK/filler"
            tell low
            size 300m
            tell enough
        "#;
        let run = |flags: &[&str], script: &str| {
            let mut command = Command::new("unshare");
            command.args(flags).args(["sh", "-c", script]).env("EXE", &exe).env("DISK", home.path());
            command.output().unwrap()
        };
        let try_mount = "mount -t tmpfs tmpfs \"$DISK\"";
        let flags = [&["-m"][..], &["-r", "-m"][..]];
        let Some(flags) = flags.into_iter().find(|flags| run(flags, try_mount).status.success()) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "a disk that fills cannot be tried: mounting is not allowed here"
            );
            eprintln!("SKIPPED: a disk that fills cannot be tried, because mounting is not allowed here");
            return;
        };
        let told = run(flags, story);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    #[test]
    #[ignore = "a process that another test starts"]
    fn one_look() {
        let (Some(disk), Some(expected)) = (std::env::var_os("DISK"), std::env::var_os("WATCH")) else {
            return;
        };
        let disks = Disks::new(vec![("bus", disk.into())]);
        let room = serde_json::to_value(disks.room()).unwrap();
        assert_eq!(room.as_str(), expected.to_str(), "{:?}", disks.states());
    }
}
