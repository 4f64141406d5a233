//! One process of the program, with the roles that it runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The signal by which a process ends itself.
#[cfg(feature = "failpoints")]
const ABORTED: i32 = 6;

/// A process that is started, killed and started again.
pub(crate) struct Process {
    /// What it is called here: its role, with a number where there are several.
    pub(super) name: String,
    /// The roles that it is told to run; `None`: all, by not saying anything.
    roles: Option<&'static str>,
    pub(super) port: u16,
    /// Where it fails on purpose; nowhere when it is empty.
    pub(super) failpoints: String,
    log: PathBuf,
    child: Option<tokio::process::Child>,
}

impl Process {
    pub(super) fn new(name: &str, roles: Option<&'static str>, port: u16, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { name: name.to_owned(), roles, port, failpoints: String::new(), log, child: None }
    }

    /// Starts it with these arguments, unless it runs, and does not wait.
    pub(super) fn spawn(&mut self, arguments: &[String]) {
        if self.child.is_some() {
            return;
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_loket"));
        command
            .args(arguments)
            .args(["--set", &format!("http.listen=127.0.0.1:{}", self.port)])
            .args(["--set", &format!("api.listen=127.0.0.1:{}", self.port)])
            .arg("serve");
        if !self.failpoints.is_empty() {
            command.env("LOKET_FAILPOINT", &self.failpoints);
        }
        if let Some(roles) = self.roles {
            command.args(["--roles", roles]);
        }
        let child = command.stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
        self.child = Some(child.expect("the program"));
    }

    /// Whether it runs this role, alone or with all others.
    pub(super) fn runs(&self, role: &str) -> bool {
        self.roles.is_none_or(|own| own == role)
    }

    /// Whether it has ended by itself: then it need not be waited for.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("it can be asked").is_some())
    }

    /// Lets go of one that has ended.
    pub(super) fn forget(&mut self) {
        self.child = None;
    }

    /// Waits until it has ended by itself; for ever when it does not run.
    #[cfg(feature = "failpoints")]
    pub(super) async fn aborts(&mut self) {
        let Some(child) = &mut self.child else { return std::future::pending().await };
        let status = child.wait().await.expect("a status");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(ABORTED), "{} ends by its failpoint: {status}\n{}", self.name, self.log());
        self.child = None;
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    /// SIGTERM, and its exit.
    pub(crate) async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(told.success());
        let ended = tokio::time::timeout(STOP_LIMIT, child.wait()).await;
        let status = ended.expect("it stops within 30 s").expect("a status");
        assert!(status.success(), "an orderly stop of {} ends well: {status}\n{}", self.name, self.log());
    }

    /// Everything that it has written.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
