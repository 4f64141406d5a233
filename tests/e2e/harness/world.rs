//! One installation: the program as one process or several, on ground of its own.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::ground::Ground;
use super::meta::{APP_ID, APP_SECRET, INSTAGRAM, OTHER_PAGE, OTHER_PHONE_NUMBER, PAGE, PHONE_NUMBER};
use super::process::Process;
use super::{AgentClient, DEADLINE, Kind, Meta, Simulator, eventually};

/// Between two looks for rest.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long several processes must look at rest: what one of them says of the bus is right within a
/// second (`reliability-contract` §9, B13), because what is on its way to another is nowhere meanwhile.
const REST: Duration = Duration::from_millis(1200);
/// How long anybody here waits for an answer: longer than any limit of the program's own, so that nothing
/// that it does not answer holds a test up for ever.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// What the role `connectors` serves.
const PUBLIC: [&str; 2] = ["/callbacks", "/webchat"];

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

/// A running installation. Dropping it kills its processes; [`World::finish`] also checks it.
pub(crate) struct World {
    // Before the ground, so that nobody stands on it when it goes.
    processes: Vec<Process>,
    ground: Ground,
    folder: tempfile::TempDir,
    options: Options,
    http: reqwest::Client,
    passwords: Vec<(String, String)>,
    simulator: Option<Simulator>,
    simulator_port: u16,
}

/// A port for a process that will be away now and then: free, never given out here before, and below those
/// that the kernel gives to connections and to whoever asks for any port, because one of these may sit on it
/// when the process comes back.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).expect("small");
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        let port = 22_000 + (first + turn) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl World {
    /// A fresh installation with an admin, running.
    pub(crate) async fn start(kind: Kind, options: Options) -> Self {
        // Another test of this process may have installed it: as good.
        let _already = rustls::crypto::ring::default_provider().install_default();
        // Beside the build and not in the system's place for temporary files, which may be kept in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        std::fs::write(folder.path().join("master.key"), "0123456789abcdefghijklmnopqrstuv").expect("a key");
        let simulator_port = options.simulator_port.unwrap_or_else(free_port);
        let process = |name: &str, roles| Process::new(name, roles, free_port(), folder.path());
        let processes = match kind {
            Kind::Embedded | Kind::Services => vec![process("loket", None)],
            Kind::Split => vec![
                process("connectors", Some("connectors")),
                process("hub-1", Some("hub")),
                process("hub-2", Some("hub")),
                process("agent-api", Some("agent-api")),
            ],
        };
        let mut world = Self {
            processes,
            ground: Ground::new(kind, folder.path()).await,
            folder,
            options,
            http: reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build().expect("a client"),
            passwords: Vec::new(),
            simulator: None,
            simulator_port,
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
phone_number = "31201234567"
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

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        let mut sets = vec![
            format!("store.url={}", self.ground.store),
            format!("bus.url={}", self.ground.bus),
            format!("kv.url={}", self.ground.kv),
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

    /// Starts all processes (again) and waits until they are ready.
    pub(crate) async fn run(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// From their next start on processes fail where these failpoints say; nowhere when it is empty.
    #[cfg(feature = "failpoints")]
    pub(crate) fn arm(&mut self, failpoints: &str) {
        for process in &mut self.processes {
            failpoints.clone_into(&mut process.failpoints);
        }
    }

    /// Waits for a process to end by itself; false when all live on.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn aborts(&mut self, within: Duration) -> bool {
        let ended = self.processes.iter_mut().map(|process| Box::pin(process.aborts()));
        tokio::time::timeout(within, futures_util::future::select_all(ended)).await.is_ok()
    }

    /// Starts the processes that do not run, and does not wait.
    pub(crate) fn spawn(&mut self) {
        let arguments = self.arguments();
        for process in &mut self.processes {
            process.spawn(&arguments);
        }
    }

    /// The same for those that have ended by themselves, too.
    pub(crate) fn spawn_again(&mut self) {
        for process in &mut self.processes {
            if process.has_ended() {
                process.forget();
            }
        }
        self.spawn();
    }

    /// One process, to be killed or stopped.
    pub(crate) fn process(&mut self, name: &str) -> &mut Process {
        let mut processes = self.processes.iter_mut();
        processes.find(|process| process.name == name).expect("a process of this world")
    }

    /// Starts a process again that was killed or stopped, and waits until it is ready.
    pub(crate) async fn run_again(&mut self, name: &str) {
        let arguments = self.arguments();
        self.process(name).spawn(&arguments);
        self.ready().await;
    }

    /// Waits until every process can do its work.
    async fn ready(&mut self) {
        for process in &mut self.processes {
            let url = format!("http://127.0.0.1:{}/health/ready", process.port);
            let end = tokio::time::Instant::now() + DEADLINE;
            let what = format!("{} is ready", process.name);
            eventually(&what, || {
                assert!(!process.has_ended(), "{} has ended: {}", process.name, process.log());
                assert!(tokio::time::Instant::now() < end, "{what} not in time: {}", process.log());
                let request = self.http.get(&url).send();
                async move { request.await.ok().filter(|answer| answer.status().is_success()) }
            })
            .await;
        }
    }

    /// `kill -9`, all processes.
    pub(crate) async fn kill(&mut self) {
        for process in &mut self.processes {
            process.kill().await;
        }
    }

    /// `kill -9` for the processes that run this role.
    pub(crate) async fn kill_the(&mut self, role: &str) {
        for process in self.processes.iter_mut().filter(|process| process.runs(role)) {
            process.kill().await;
        }
    }

    /// Stops one of the processes that run this role in order, and starts it again; the next one, the next
    /// `time`.
    pub(crate) async fn restart(&mut self, role: &str, time: u64) {
        let mut running: Vec<_> = self.processes.iter_mut().filter(|process| process.runs(role)).collect();
        let place = usize::try_from(time).expect("few") % running.len();
        running[place].stop().await;
        self.run().await;
    }

    /// SIGTERM, and the exit, one process after the other.
    pub(crate) async fn stop(&mut self) {
        for process in &mut self.processes {
            process.stop().await;
        }
    }

    /// Damages a row of the store by hand.
    pub(crate) async fn damage(&self, statement: &'static str) {
        assert!(self.ground.damage(statement).await > 0, "nothing was damaged by {statement}");
    }

    /// Stops it in order and checks that nothing is lost or doubled.
    pub(crate) async fn finish(mut self) {
        self.stop().await;
        let verdict = self.command(&["verify"]);
        let text = String::from_utf8_lossy(&verdict.stdout).into_owned();
        assert!(verdict.status.success(), "loket verify: {text}{}", String::from_utf8_lossy(&verdict.stderr));
    }

    /// Everything that the processes have written.
    pub(crate) fn log(&self) -> String {
        self.processes.iter().map(Process::log).collect()
    }

    /// An address of the installation: of the process that serves it.
    pub(crate) fn url(&self, path: &str) -> String {
        let is_public = PUBLIC.iter().any(|public| path.starts_with(public));
        let by = if is_public { self.processes.first() } else { self.processes.last() };
        format!("http://127.0.0.1:{}{path}", by.expect("a process").port)
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
        let is_alone = self.processes.len() == 1;
        self.rests(agent, if is_alone { Duration::ZERO } else { REST }).await;
    }

    /// The same without being sure of it: between steps that may overlap a little.
    pub(crate) async fn settled_for_now(&self, agent: &AgentClient) {
        self.rests(agent, Duration::ZERO).await;
    }

    async fn rests(&self, agent: &AgentClient, rest: Duration) {
        // An item is on the bus until its effects are committed, and an entry is without a number until
        // the sequencer saw it: so both at once mean rest.
        let (mut last, mut fewest) = (serde_json::Value::Null, u64::MAX);
        let mut end = tokio::time::Instant::now() + DEADLINE;
        let mut quiet_since = None;
        loop {
            let (status, health) = agent.look("/health/status").await;
            if status == 200 {
                last = health["hub"].clone();
            }
            let topics = last["topics"].as_object();
            let waiting =
                topics.map_or(u64::MAX, |all| all.values().filter_map(|t| t["items"].as_u64()).sum());
            let now = tokio::time::Instant::now();
            if waiting == 0 && last["unnumbered"] == 0 {
                if now.duration_since(*quiet_since.get_or_insert(now)) >= rest {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            } else {
                quiet_since = None;
            }
            // A backlog may take its time as long as it grows smaller.
            if waiting < fewest {
                (fewest, end) = (waiting, tokio::time::Instant::now() + DEADLINE);
            }
            assert!(tokio::time::Instant::now() < end, "it does not come to rest: {last}");
        }
    }
}
