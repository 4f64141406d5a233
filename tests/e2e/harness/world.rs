//! One installation: the program as a process, its data in a folder that goes with it.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::meta::{APP_ID, APP_SECRET, INSTAGRAM, OTHER_PAGE, OTHER_PHONE_NUMBER, PAGE, PHONE_NUMBER};
use super::{AgentClient, DEADLINE, Meta, Simulator, eventually};

/// The signal by which a process ends itself.
const ABORTED: i32 = 6;

/// What an installation is started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// With Meta's platforms and customers' phones; without, nobody listens at the Graph API.
    pub simulator: bool,
    /// Where it is, if that must be known before; otherwise anywhere.
    pub simulator_port: Option<u16>,
    /// More settings, as `section.key=value`.
    pub sets: Vec<String>,
}

/// A running installation. Dropping it kills the process; [`World::finish`] also checks it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    port: u16,
    options: Options,
    child: Option<tokio::process::Child>,
    http: reqwest::Client,
    passwords: Vec<(String, String)>,
    simulator: Option<Simulator>,
    simulator_port: u16,
    failpoints: String,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

impl World {
    /// A fresh installation with an admin, running.
    pub(crate) async fn start(options: Options) -> Self {
        // Another test of this process may have installed it: as good.
        let _already = rustls::crypto::ring::default_provider().install_default();
        // Beside the build and not in the system's place for temporary files, which may be kept in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        std::fs::write(folder.path().join("master.key"), "0123456789abcdefghijklmnopqrstuv").expect("a key");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let simulator_port = options.simulator_port.unwrap_or_else(free_port);
        let mut world = Self {
            folder,
            port: free_port(),
            options,
            child: None,
            http,
            passwords: Vec::new(),
            simulator: None,
            simulator_port,
            failpoints: String::new(),
        };
        world.write_settings();
        if world.options.simulator {
            let (http, callbacks) = (world.http.clone(), world.url("/callbacks"));
            let settings = world.config_path();
            world.simulator = Some(Simulator::start(http, &settings, world.simulator_port, &callbacks).await);
        }
        world.create_agent("admin", "admin");
        world.run().await;
        world
    }

    fn write_settings(&self) {
        let graph = format!("http://127.0.0.1:{}", self.simulator_port);
        let origin = self.url("");
        let mut text = String::new();
        write!(
            text,
            r#"
[graph]
url = "{graph}"
[whatsapp]
app_secret = "{APP_SECRET}"
verify_token = "loket-verify"
[whatsapp.accounts.one]
phone_number_id = "{PHONE_NUMBER}"
waba_id = "215000000000101"
access_token = "wa-token-one"
[whatsapp.accounts.two]
phone_number_id = "{OTHER_PHONE_NUMBER}"
waba_id = "215000000000102"
access_token = "wa-token-two"
[messenger]
app_secret = "{APP_SECRET}"
verify_token = "loket-verify"
app_id = "{APP_ID}"
[messenger.accounts.one]
page_id = "{PAGE}"
access_token = "page-token-one"
instagram_id = "{INSTAGRAM}"
[messenger.accounts.two]
page_id = "{OTHER_PAGE}"
access_token = "page-token-two"
[webchat.sites.shop]
origins = ["{origin}"]
"#
        )
        .expect("text");
        std::fs::write(self.config_path(), text).expect("settings");
    }

    /// The settings file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("loket.toml")
    }

    /// The store's file.
    pub(crate) fn store_path(&self) -> PathBuf {
        self.folder.path().join("loket.db")
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        let mut sets = vec![
            format!("http.listen=127.0.0.1:{}", self.port),
            format!("api.listen=127.0.0.1:{}", self.port),
            format!("store.url=sqlite:{folder}/loket.db"),
            format!("bus.url=embedded:{folder}/bus"),
            format!("secrets.master_key_file={folder}/master.key"),
            // Journeys look far more often than a person would.
            "api.requests_per_minute=0".to_owned(),
            "api.handshakes_per_minute=0".to_owned(),
            "webchat.rates.visitors_per_address=1000".to_owned(),
        ];
        sets.extend(self.options.sets.iter().cloned());
        let mut arguments = vec!["--config".to_owned(), self.config_path().display().to_string()];
        for set in sets {
            arguments.push("--set".to_owned());
            arguments.push(set);
        }
        arguments
    }

    /// Runs one of the program's commands on this installation.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_loket"))
            .args(self.arguments())
            .args(words)
            .output()
            .expect("the program")
    }

    /// Makes an agent; its password is kept here for [`Self::agent`].
    pub(crate) fn create_agent(&mut self, login: &str, role: &str) {
        let output = self.command(&["admin", "create-agent", "--login", login, "--role", role]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let password = String::from_utf8(output.stdout).expect("a password").trim().to_owned();
        self.passwords.push((login.to_owned(), password));
    }

    /// Starts the process (again) and waits until it is ready.
    pub(crate) async fn run(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// From the next start on the process fails where these failpoints say; nowhere when it is empty.
    pub(crate) fn arm(&mut self, failpoints: &str) {
        failpoints.clone_into(&mut self.failpoints);
    }

    /// Waits for the process to end by itself; false when it lives on.
    pub(crate) async fn aborts(&mut self, within: Duration) -> bool {
        let child = self.child.as_mut().expect("it runs");
        let Ok(status) = tokio::time::timeout(within, child.wait()).await else { return false };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status.expect("a status"));
        assert_eq!(signal, Some(ABORTED), "it ends by its failpoint and by nothing else\n{}", self.log());
        self.child = None;
        true
    }

    /// Starts the process and does not wait.
    pub(crate) fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_loket"))
            .args(self.arguments())
            .arg("serve")
            .envs((!self.failpoints.is_empty()).then_some(("LOKET_FAILPOINT", &self.failpoints)))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        self.child = Some(child);
    }

    /// Waits until the process can do its work.
    pub(crate) async fn ready(&mut self) {
        let (http, url) = (self.http.clone(), self.url("/health/ready"));
        eventually("the process is ready", || {
            let request = http.get(&url).send();
            async move { request.await.ok().filter(|answer| answer.status().is_success()) }
        })
        .await;
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
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
        let status = ended.expect("it stops within 30 s").expect("a status");
        assert!(status.success(), "an orderly stop ends well: {status}\n{}", self.log());
    }

    /// Stops it in order and checks that nothing is lost or doubled.
    pub(crate) async fn finish(mut self) {
        self.stop().await;
        let verdict = self.command(&["verify"]);
        let text = String::from_utf8_lossy(&verdict.stdout).into_owned();
        assert!(verdict.status.success(), "loket verify: {text}{}", String::from_utf8_lossy(&verdict.stderr));
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("loket.log")
    }

    /// Everything that the process has written.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// An address of the installation.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Meta's platforms and customers' phones.
    pub(crate) fn simulator(&self) -> &Simulator {
        self.simulator.as_ref().expect("a world with a simulator")
    }

    /// A plain HTTP client.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Meta's platforms, calling.
    pub(crate) fn meta(&self) -> Meta {
        Meta::new(self.http.clone(), self.url("/callbacks"))
    }

    /// An agent, logged in.
    pub(crate) async fn agent(&self, login: &str) -> AgentClient {
        let (_, password) =
            self.passwords.iter().find(|(known, _)| known == login).expect("an agent of this world");
        AgentClient::log_in(self.http.clone(), self.url(""), login, password).await
    }
}

impl World {
    /// Waits until nothing is underway: the bus is empty and the log is numbered.
    pub(crate) async fn settled(&self, agent: &AgentClient) {
        // An item is on the bus until its effects are committed, and an entry is without a number until
        // the sequencer saw it: so both at once mean rest.
        let (mut last, mut fewest) = (serde_json::Value::Null, u64::MAX);
        let mut end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let (status, health) = agent.look("/health/status").await;
            if status == 200 {
                last = health["hub"].clone();
            }
            let topics = last["topics"].as_object();
            let waiting =
                topics.map_or(u64::MAX, |all| all.values().filter_map(|t| t["items"].as_u64()).sum());
            if waiting == 0 && last["unnumbered"] == 0 {
                return;
            }
            // A backlog may take its time as long as it grows smaller.
            if waiting < fewest {
                (fewest, end) = (waiting, tokio::time::Instant::now() + DEADLINE);
            }
            assert!(tokio::time::Instant::now() < end, "it does not come to rest: {last}");
        }
    }
}
