//! Supervised tasks: each has a name, an owner and an end. A task that panics ends its role loudly.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one process. Cloneable; all clones share the same tasks and the same stop sign.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process should stop: a task watches it at every wait.
    pub fn stop_sign(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task` until it ends. If it panics the whole process is told to stop, because half a
    /// role is worse than none.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicGuard { name, stop: self.stop.clone(), done: false };
        self.tracker.spawn(async move {
            let mut guard = guard;
            task.await;
            guard.done = true;
        });
    }

    /// Asks all tasks to stop and waits for them, at most `limit`. False when some did not.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

struct PanicGuard {
    name: &'static str,
    stop: CancellationToken,
    done: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            metrics::counter!("loket_task_panics_total", "task" => self.name).increment(1);
            tracing::error!(task = self.name, "a task panicked; the process stops");
            self.stop.cancel();
        }
    }
}
