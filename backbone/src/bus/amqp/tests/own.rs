//! A broker of a test's own, which may be killed, frozen and told to raise an alarm.

use std::process::Stdio;

use tokio::process::Command;

use super::fixture::{Broker, VARIABLE};
use crate::trial;

const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/services");

/// A throw-away broker; it ends with this process at the latest.
pub(super) struct OwnBroker {
    dir: tempfile::TempDir,
    url: String,
}

impl OwnBroker {
    /// Starts one where the test run has services at all.
    pub(super) async fn start() -> Option<Self> {
        trial::service(VARIABLE)?;
        let dir = tempfile::tempdir().unwrap();
        let mut own = Self { dir, url: String::new() };
        let ours = std::process::id().to_string();
        own.services(&["start", "--until", &ours, "rabbitmq"], &[]).await;
        let told = own.services(&["env"], &[]).await;
        let url = told.lines().find_map(|line| line.split_once(VARIABLE)?.1.split('\'').nth(1));
        url.unwrap().clone_into(&mut own.url);
        Some(own)
    }

    /// A corner of it.
    pub(super) fn corner(&self) -> Broker {
        Broker::at_mercy(&self.url)
    }

    pub(super) async fn kill(&self) {
        self.services(&["kill", "rabbitmq"], &[]).await;
    }

    pub(super) async fn start_again(&self) {
        self.services(&["start", "rabbitmq"], &[]).await;
    }

    pub(super) async fn freeze(&self) {
        self.services(&["freeze", "rabbitmq"], &[]).await;
    }

    pub(super) async fn thaw(&self) {
        self.services(&["thaw", "rabbitmq"], &[]).await;
    }

    /// `rabbitmqctl` of it.
    pub(super) async fn control(&self, words: &[&str]) -> String {
        self.services(&["ctl"], words).await
    }

    pub(super) async fn stop(self) {
        self.services(&["stop"], &[]).await;
    }

    async fn services(&self, before: &[&str], after: &[&str]) -> String {
        let mut command = Command::new(SERVICES);
        command.args(before).arg(self.dir.path()).args(after);
        let done = command.stdin(Stdio::null()).output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && !said.contains("does not run"), "{before:?} {after:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }
}
