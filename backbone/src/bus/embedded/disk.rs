//! The directory of the bus: who may read it, who owns it, what it lies on, and the ballast.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::Options;
use crate::bus::BusError;

/// File systems that forget, or whose locks and syncs cannot be trusted.
const VOLATILE: &[&str] = &[
    "tmpfs",
    "ramfs",
    "devtmpfs",
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
];

/// The directory, while this process owns it.
pub(super) struct Disk {
    dir: PathBuf,
    ballast_bytes: u64,
    /// Held for its lock, which ends with the process however it dies.
    _lock: File,
}

impl Disk {
    /// Makes the directory if need be and takes it for this process alone.
    pub(super) fn claim(dir: &Path, options: &Options) -> Result<Self, BusError> {
        let refuse = |what: &str, error: &dyn std::fmt::Display| {
            BusError::Refused(format!("the bus cannot {what} {}: {error}", dir.display()))
        };
        if !dir.is_dir() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(dir).map_err(|error| refuse("make its directory", &error))?;
        }
        if !options.volatile_allowed
            && let Some(kind) = volatile_file_system(dir)
        {
            return Err(BusError::Refused(format!(
                "the directory {} lies on {kind}, which does not keep what it confirmed; choose another for \
                 bus.url, or add ?durability=relaxed to it",
                dir.display()
            )));
        }
        let lock = private(&dir.join("bus.lock")).map_err(|error| refuse("make its lock in", &error))?;
        match crate::disk::lock_alone(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BusError::Refused(format!(
                    "another process already uses the bus in {}; stop it first, or give this one another \
                     directory in bus.url",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(refuse("lock", &error)),
        }
        // SQLite gives its other files the rights of this one.
        private(&dir.join("bus.sqlite")).map_err(|error| refuse("make its file in", &error))?;
        Ok(Self { dir: dir.to_owned(), ballast_bytes: options.ballast_bytes, _lock: lock })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.join("bus.sqlite")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Gives the ballast's space back. False when there was none to give.
    pub(super) fn drop_ballast(&self) -> bool {
        let freed = std::fs::remove_file(self.ballast()).is_ok();
        if freed {
            tracing::error!(
                "the disk of the bus is full; its ballast is freed so that acknowledging goes on"
            );
        }
        freed
    }

    /// True when the ballast is there, or could be made because the disk has twice its room.
    pub(super) fn ensure_ballast(&self) -> bool {
        let there = std::fs::metadata(self.ballast()).is_ok_and(|found| found.len() >= self.ballast_bytes);
        there || (self.has_room() && self.make_ballast().is_ok())
    }

    fn has_room(&self) -> bool {
        statvfs(&self.dir).is_ok_and(|disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) >= self.ballast_bytes.saturating_mul(2)
        })
    }

    fn make_ballast(&self) -> io::Result<()> {
        let mut file = private(&self.ballast())?;
        if fallocate(&file, FallocateFlags::empty(), 0, self.ballast_bytes).is_err() {
            // Not every file system can set space aside; all of them can be written to.
            let zeros = vec![0; 64 * 1024];
            let mut left = usize::try_from(self.ballast_bytes).unwrap_or(usize::MAX);
            while left > 0 {
                let part = zeros.get(..left.min(zeros.len())).unwrap_or(&zeros);
                file.write_all(part)?;
                left -= part.len();
            }
        }
        file.sync_all()
    }
}

/// Opens or makes a file that only its owner may read.
fn private(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// The kind of file system that `dir` is on, when it is one of [`VOLATILE`]. Where the system does
/// not tell (no `/proc`), nothing is refused.
fn volatile_file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let kind = kind_of(&dir, &mounts)?;
    VOLATILE.contains(&kind.as_str()).then_some(kind)
}

/// The kind of the mount that `dir` is on: the one with the longest path above it, and of several
/// with the same path the last, which covers the others.
fn kind_of(dir: &Path, mounts: &str) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let point = PathBuf::from(unescape(point));
        if dir.starts_with(&point) {
            let depth = point.components().count();
            if best.is_none_or(|(deepest, _)| depth >= deepest) {
                best = Some((depth, kind));
            }
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// The four characters that the mount table writes in octal.
fn unescape(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_decides() {
        let mounts = "/dev/vda / ext4 rw 0 0\n\
                      tmpfs /dev/shm tmpfs rw 0 0\n\
                      host:/x /mnt/two\\040words nfs4 rw 0 0\n\
                      tmpfs /mnt/again tmpfs rw 0 0\n\
                      /dev/vdb /mnt/again xfs rw 0 0\n";
        for (dir, kind) in [
            ("/var/lib/loket", "ext4"),
            ("/dev/shm/bus", "tmpfs"),
            ("/dev/shmooze", "ext4"),
            ("/mnt/two words/bus", "nfs4"),
            ("/mnt/again/bus", "xfs"),
        ] {
            assert_eq!(kind_of(Path::new(dir), mounts).as_deref(), Some(kind), "{dir}");
        }
        assert_eq!(kind_of(Path::new("/x"), "rubbish\n\n"), None);
    }

    #[test]
    fn the_files_are_for_their_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("bus");
        let options = Options { ballast_bytes: 4096, volatile_allowed: true, ..Options::default() };
        let disk = Disk::claim(&dir, &options).unwrap();
        assert!(disk.ensure_ballast());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for name in ["bus.sqlite", "bus.lock", "ballast"] {
            assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
        }
        assert_eq!(std::fs::metadata(dir.join("ballast")).unwrap().len(), 4096);
        assert!(disk.drop_ballast());
        assert!(!disk.drop_ballast());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused_by_name() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = Disk::claim(&file.join("bus"), &Options::default()).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("file/bus"), "{refused}");
    }
}
