//! What the tests of every room share and no release contains: the real services of a test run, those
//! that a test has for itself, and a network between them that can fail. Compiled with the feature
//! `trial`, which only `[dev-dependencies]` ask for.

mod network;
mod proxy;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::random;

pub use network::Scripted;
pub use proxy::{Flow, Proxy};

/// Set to something where nothing may be skipped.
const CI: &str = "CI";

/// The URL of a throw-away service for tests, such as `service("LOKET_TEST_REDIS")`. Without one it
/// says loudly that the test is skipped and answers `None`: the caller returns.
///
/// # Panics
///
/// When there is none and `CI` is set: there nothing is skipped.
pub fn service(variable: &str) -> Option<String> {
    let url = told(variable);
    if url.is_none() {
        skip(&format!("{variable} is not set"));
    }
    url
}

/// Says loudly that a test is skipped, and why; its caller returns.
///
/// # Panics
///
/// When `CI` is set: there nothing is skipped.
#[expect(clippy::print_stderr, reason = "who runs the tests must see what was not tried")]
pub fn skip(why: &str) {
    assert!(told(CI).is_none(), "{why}, and with {CI} set nothing is skipped");
    eprintln!("SKIPPED: {why}");
}

/// The script that starts services (`tests/services`).
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/services");

/// A throw-away service of one test's own, which it may stop, kill and freeze. Dropping it ends it and
/// removes what it stored; so does the end of the test's process.
pub struct Service {
    name: &'static str,
    url: String,
    dir: PathBuf,
}

impl Service {
    /// Starts the kind of service that [`service`] finds by this variable, on ports of its own: some
    /// milliseconds for Redis, a second for PostgreSQL, five for RabbitMQ. `None` where there are none.
    ///
    /// # Panics
    ///
    /// As [`service`], and when it does not start.
    #[expect(clippy::panic, reason = "only tests are here")]
    pub async fn start(variable: &str) -> Option<Self> {
        service(variable)?;
        let name = match variable {
            "LOKET_TEST_AMQP" => "rabbitmq",
            "LOKET_TEST_POSTGRES" => "postgres",
            "LOKET_TEST_REDIS" => "redis",
            _ => panic!("{variable} is no service's"),
        };
        let dir = std::env::temp_dir().join(format!("loket-{name}-{}", random::hex::<6>()));
        let mut started = Self { name, url: String::new(), dir };
        started.start_again().await;
        let told = Command::new(SCRIPT).arg("env").arg(&started.dir).output().await;
        let told =
            told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        assert!(told.contains(variable), "tests/services env: {told}");
        told.split('\'').nth(1).unwrap_or_default().clone_into(&mut started.url);
        Some(started)
    }

    /// Where it is; the same after a kill and a new start.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `kill -9` of the process itself.
    pub async fn kill(&self) {
        self.tell("kill", &[]).await;
    }

    /// Stops it in order.
    pub async fn stop(&self) {
        self.tell("stop", &[]).await;
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], with its data; returns when it answers.
    pub async fn start_again(&self) {
        self.tell("start", &["--until", &std::process::id().to_string()]).await;
    }

    /// Freezes it: it keeps its connections, takes new ones, and answers nobody.
    pub async fn freeze(&self) {
        self.tell("freeze", &[]).await;
    }

    /// Ends [`Self::freeze`].
    pub async fn thaw(&self) {
        self.tell("thaw", &[]).await;
    }

    #[expect(clippy::panic, reason = "only tests are here")]
    async fn tell(&self, verb: &str, options: &[&str]) {
        let mut script = Command::new(SCRIPT);
        script.arg(verb).args(options).arg(self.name).arg(&self.dir).stdin(Stdio::null());
        let done = script.output().await;
        match done {
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "tests/services {verb} {}: {said}", self.name);
            }
            Err(error) => panic!("tests/services cannot be run: {error}"),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        end(&self.dir);
    }
}

/// What fails here fails again, and says so, at the end of the test's process.
fn end(dir: &Path) {
    let script = std::process::Command::new(SCRIPT).arg("stop").arg(dir).stderr(Stdio::null()).status();
    if script.is_ok_and(|status| status.success()) {
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where their services are")]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_not_there_is_a_skip_and_in_ci_a_failure() {
        let asked = std::panic::catch_unwind(|| service("LOKET_TEST_NEVER_SET"));
        match told(CI) {
            Some(_) => assert!(asked.is_err()),
            None => assert_eq!(asked.ok(), Some(None)),
        }
        assert!(service("PATH").is_some_and(|path| !path.is_empty()), "what is set is handed on");
    }
}
