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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn stopping_tells_every_task_and_waits_for_it() {
        let tasks = Tasks::new();
        let (done, mut ended) = tokio::sync::mpsc::channel(8);
        for _ in 0..3 {
            let (stop, done) = (tasks.stop_sign(), done.clone());
            tasks.clone().spawn("waits", async move {
                stop.cancelled().await;
                done.send(()).await.unwrap();
            });
        }
        assert!(tasks.stop(PATIENCE).await);
        for _ in 0..3 {
            assert_eq!(ended.try_recv(), Ok(()), "it had ended before stop returned");
        }
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_told_of() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        assert!(!tasks.stop(Duration::from_millis(20)).await);
    }

    #[tokio::test]
    async fn a_task_that_ends_stops_nobody_and_one_that_panics_stops_all() {
        let tasks = Tasks::new();
        let stop = tasks.stop_sign();
        let (done, ended) = tokio::sync::oneshot::channel();
        tasks.spawn("ends", async { done.send(()).unwrap() });
        ended.await.unwrap();
        tokio::task::yield_now().await;
        assert!(!stop.is_cancelled());
        tasks.spawn("panics", async { panic!("on purpose") });
        tokio::time::timeout(PATIENCE, stop.cancelled()).await.unwrap();
        assert!(tasks.stop(PATIENCE).await, "and it does not hold up the stop");
    }
}
