//! Processes to measure: the floor server, and Loket itself; and T9, what an idle one costs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{APP_SECRET, Connection, PHONE_NUMBER, body};
use crate::postgres::Database;
use crate::services::Services;
use crate::{Figures, RUNS, WARM_UP, floor, progress};

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// Processor seconds that a process has used, from its own account with the system.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().expect("ticks") + fields[12].parse::<u32>().expect("ticks");
    // The kernel accounts in hundredths of a second on every common configuration.
    f64::from(ticks) / 100.0
}

/// Waits until somebody listens there.
pub(crate) async fn until_it_listens(port: u16) {
    let end = Instant::now() + floor::START;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < end, "nobody listens on {port}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The floor of the whole road, in a process of its own.
pub(crate) struct FloorServer {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl FloorServer {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg("floor-server")
            .arg(folder.path())
            .arg(port.to_string())
            .spawn()
            .expect("the floor");
        until_it_listens(port).await;
        Self { child, port, _folder: folder }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// Loket in processes of its own, in a folder that goes with it.
pub(crate) struct Loket {
    children: Vec<Child>,
    /// Where the first of them listens, which takes callbacks.
    pub(crate) port: u16,
    /// Where the last of them listens, which serves the API.
    pub(crate) api_port: u16,
    /// When the first of them was started.
    pub(crate) since: Instant,
    password: String,
    _folder: tempfile::TempDir,
}

impl Loket {
    /// One process on embedded backends, with one WhatsApp number and an admin.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], &[None]).await
    }

    /// One process on these services.
    pub(crate) async fn start_on(services: &Services, database: &Database, sets: &[&str]) -> Self {
        Self::start_split(services, database, sets, &[None]).await
    }

    /// A process for each of these lists of roles on these services.
    pub(crate) async fn start_split(
        services: &Services,
        database: &Database,
        sets: &[&str],
        roles: &[Option<&str>],
    ) -> Self {
        let (bus, kv) = (format!("bus.url={}", services.amqp()), format!("kv.url={}", services.redis()));
        let store = format!("store.url={}", database.url());
        let mut all = vec![bus.as_str(), kv.as_str(), store.as_str()];
        all.extend(sets);
        Self::start_with(&all, roles).await
    }

    /// The same with settings, which count more than the usual ones.
    pub(crate) async fn start_with(sets: &[&str], roles: &[Option<&str>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        std::fs::write(folder.path().join("key"), "0123456789abcdefghijklmnopqrstuv").expect("a key");
        let mut all = vec![
            format!("store.url=sqlite:{path}/loket.db"),
            format!("bus.url=embedded:{path}/bus"),
            format!("secrets.master_key_file={path}/key"),
            format!("whatsapp.app_secret={APP_SECRET}"),
            "whatsapp.verify_token=bench".to_owned(),
            format!("whatsapp.accounts.bench.phone_number_id={PHONE_NUMBER}"),
            "whatsapp.accounts.bench.access_token=bench".to_owned(),
            "api.requests_per_minute=0".to_owned(),
            "log.level=warn".to_owned(),
        ];
        all.extend(sets.iter().map(|set| (*set).to_owned()));
        let program = |port: u16| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_loket"));
            for listen in ["http.listen", "api.listen"] {
                command.arg("--set").arg(format!("{listen}=127.0.0.1:{port}"));
            }
            for set in &all {
                command.arg("--set").arg(set);
            }
            command
        };
        let made = program(0).args(["admin", "create-agent", "--login", "bench", "--role", "admin"]).output();
        let made = made.expect("the program");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let password = String::from_utf8(made.stdout).expect("a password").trim().to_owned();
        let since = Instant::now();
        let (mut children, mut ports) = (Vec::new(), Vec::new());
        for roles in roles {
            let port = free_port();
            let mut command = program(port);
            command.arg("serve").stdout(Stdio::null());
            if let Some(roles) = roles {
                command.args(["--roles", roles]);
            }
            children.push(command.spawn().expect("the program"));
            ports.push(port);
        }
        for port in &ports {
            until_it_listens(*port).await;
        }
        let (port, api_port) = (ports[0], *ports.last().expect("a process"));
        Self { children, port, api_port, since, password, _folder: folder }
    }

    /// The first process.
    pub(crate) fn pid(&self) -> u32 {
        self.children[0].id()
    }

    /// How many MiB the first process holds.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kib: f64 = kib.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024.0
    }

    /// An agent at its API.
    pub(crate) async fn log_in(&self) -> Agent {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let base = format!("http://127.0.0.1:{}", self.api_port);
        let login = serde_json::json!({"login": "bench", "password": self.password});
        let answer = http.post(format!("{base}/v1/sessions")).json(&login).send().await.expect("an answer");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        let token = body["token"].as_str().expect("a token").to_owned();
        Agent { http, base, token }
    }
}

/// An agent who is logged in.
#[derive(Clone)]
pub(crate) struct Agent {
    http: reqwest::Client,
    base: String,
    /// Their bearer token.
    pub(crate) token: String,
}

impl Agent {
    /// The address of the live socket.
    pub(crate) fn stream(&self) -> String {
        format!("{}/v1/stream", self.base.replacen("http", "ws", 1))
    }

    /// GET that goes well.
    pub(crate) async fn get(&self, path: &str) -> serde_json::Value {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "GET {path}: {}", answer.status());
        answer.json().await.expect("JSON")
    }

    /// A reply into a thread; when it was accepted.
    pub(crate) async fn reply(&self, thread: &str, text: &str) -> Instant {
        let request = self.http.post(format!("{}/v1/threads/{thread}/messages", self.base));
        let body = serde_json::json!({"content": {"type": "text", "text": text}});
        let request = request.bearer_auth(&self.token).header("Idempotency-Key", text).json(&body);
        let answer = request.send().await.expect("an answer");
        let accepted = Instant::now();
        assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
        accepted
    }

    /// Every thread, by page.
    pub(crate) async fn threads(&self) -> Vec<serde_json::Value> {
        let (mut threads, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/threads?limit=200{cursor}")).await;
            threads.extend(page["items"].as_array().expect("items").iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { return threads };
            cursor = format!("&cursor={next}");
        }
    }

    /// Waits until the bus is empty and the log is numbered; how long it took. Not longer than `limit`.
    pub(crate) async fn until_at_rest(&self, limit: Duration) -> Duration {
        let since = Instant::now();
        loop {
            let health = self.get("/health/status").await;
            let topics = health["hub"]["topics"].as_object().expect("topics").clone();
            let items: u64 = topics.values().filter_map(|topic| topic["items"].as_u64()).sum();
            if items == 0 && health["hub"]["unnumbered"] == 0 {
                return since.elapsed();
            }
            assert!(since.elapsed() < limit, "it does not come to rest: {health}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Loket {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }
}

/// What an idle process costs: memory, time to the first 200, size of the program.
pub(crate) async fn t9() {
    let (mut resident, mut first, mut size) = (Figures::default(), Figures::default(), Figures::default());
    for run in 0..RUNS {
        progress("T9: an idle process", run);
        let loket = Loket::start().await;
        let mut connection = Connection::open(loket.port).await;
        assert_eq!(connection.post("/callbacks/whatsapp", &body(1, "T9", "hallo")).await, 200);
        first.add(loket.since.elapsed().as_secs_f64(), 1.0);
        tokio::time::sleep(WARM_UP).await;
        resident.add(loket.resident_mib(), 60.0);
        #[expect(clippy::cast_precision_loss, reason = "a file's size")]
        let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_loket")).expect("the program").len() as f64;
        size.add(bytes / 1024.0 / 1024.0, 30.0);
    }
    let mib = |value: f64| format!("{value:.1} MiB");
    resident.report("T9", "resident, one process, idle", mib, "<= 1");
    first.report("T9", "start to the first 200", |seconds| format!("{seconds:.2} s"), "<= 1");
    size.report("T9", "size of the program", mib, "<= 1");
}
