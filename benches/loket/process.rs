//! Processes to measure: the floor server, and Loket itself; and T9, what an idle one costs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{APP_SECRET, Connection, PHONE_NUMBER, body};
use crate::{Figures, RUNS, WARM_UP, floor, progress};

fn free_port() -> u16 {
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

async fn until_it_listens(port: u16) {
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

/// Loket in a process of its own, on embedded backends in a folder that goes with it.
pub(crate) struct Loket {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
    /// When the serving process was started.
    pub(crate) since: Instant,
    password: String,
    _folder: tempfile::TempDir,
}

impl Loket {
    /// Starts it with one WhatsApp number and an admin.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, port) = (folder.path().display().to_string(), free_port());
        std::fs::write(folder.path().join("key"), "0123456789abcdefghijklmnopqrstuv").expect("a key");
        let sets = [
            format!("http.listen=127.0.0.1:{port}"),
            format!("api.listen=127.0.0.1:{port}"),
            format!("store.url=sqlite:{path}/loket.db"),
            format!("bus.url=embedded:{path}/bus"),
            format!("secrets.master_key_file={path}/key"),
            format!("whatsapp.app_secret={APP_SECRET}"),
            "whatsapp.verify_token=bench".to_owned(),
            format!("whatsapp.accounts.bench.phone_number_id={PHONE_NUMBER}"),
            "whatsapp.accounts.bench.access_token=bench".to_owned(),
            "log.level=warn".to_owned(),
        ];
        let program = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_loket"));
            for set in &sets {
                command.arg("--set").arg(set);
            }
            command
        };
        let made = program().args(["admin", "create-agent", "--login", "bench", "--role", "admin"]).output();
        let made = made.expect("the program");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let password = String::from_utf8(made.stdout).expect("a password").trim().to_owned();
        let since = Instant::now();
        let child = program().arg("serve").stdout(Stdio::null()).spawn().expect("the program");
        until_it_listens(port).await;
        Self { child, port, since, password, _folder: folder }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A session's token.
    pub(crate) async fn log_in(&self) -> String {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let login = serde_json::json!({"login": "bench", "password": self.password});
        let url = format!("http://127.0.0.1:{}/v1/sessions", self.port);
        let answer = client.post(url).json(&login).send().await.expect("an answer");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        body["token"].as_str().expect("a token").to_owned()
    }
}

impl Drop for Loket {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", loket.pid())).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kib: f64 = kib.trim().trim_end_matches(" kB").parse().expect("a number");
        resident.add(kib / 1024.0, 60.0);
        #[expect(clippy::cast_precision_loss, reason = "a file's size")]
        let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_loket")).expect("the program").len() as f64;
        size.add(bytes / 1024.0 / 1024.0, 30.0);
    }
    let mib = |value: f64| format!("{value:.1} MiB");
    resident.report("T9", "resident, one process, idle", mib, "<= 1");
    first.report("T9", "start to the first 200", |seconds| format!("{seconds:.2} s"), "<= 1");
    size.report("T9", "size of the program", mib, "<= 1");
}
