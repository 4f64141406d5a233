//! One process and what it serves: which listener has what, when it is ready, and what it refuses.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};
use std::time::Duration;

use loket::roles::{Addresses, Chosen};
use loket::{App, Config};
use loket_backbone::clock::Clock;
use tokio_util::sync::CancellationToken;

/// How long anything may take to become true.
const DEADLINE: Duration = Duration::from_secs(20);

/// A process inside this one, on embedded backends.
struct Running {
    addresses: Addresses,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(sets: &[&str]) -> Self {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let home = folder.path().display();
        std::fs::write(folder.path().join("master.key"), "0123456789abcdefghijklmnopqrstuv").expect("a key");
        let mut all = vec![
            format!("store.url=sqlite:{home}/loket.db"),
            format!("bus.url=embedded:{home}/bus"),
            format!("secrets.master_key_file={home}/master.key"),
            "webchat.sites.shop.origins=https://shop.example".to_owned(),
        ];
        all.extend(sets.iter().map(|set| (*set).to_owned()));
        let config = Config::from_layers(None, Vec::new(), &all).expect("settings");
        let app = App::build(&config, Chosen::all(), Clock::system()).await.expect("a process");
        let addresses = app.addresses().expect("addresses");
        let stop = CancellationToken::new();
        let ended = tokio::spawn(app.run(stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { addresses, stop, ended, http, _folder: folder }
    }

    /// Status, type and body of an answer.
    async fn get(&self, at: std::net::SocketAddr, path: &str) -> (u16, String, String) {
        let answer = self.http.get(format!("http://{at}{path}")).send().await.expect("an answer");
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let (status, kind) = (answer.status().as_u16(), kind.unwrap_or_default().to_owned());
        (status, kind, answer.text().await.expect("a body"))
    }

    async fn until_ready_is(&self, status: u16) -> String {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let (found, _, body) = self.get(self.addresses.http, "/health/ready").await;
            if found == status {
                return body;
            }
            assert!(tokio::time::Instant::now() < end, "it is not {status} in time: {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.ended.await.expect("no panic").expect("an orderly stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_port_has_callbacks_and_health_and_the_inner_one_the_rest() {
    let process = Running::start(&["http.listen=127.0.0.1:0", "api.listen=localhost:0"]).await;
    let Addresses { http, api } = process.addresses;
    assert_ne!(http, api);
    process.until_ready_is(200).await;
    for (at, path, status) in [
        (http, "/health/live", 200),
        (http, "/webchat/test?site=shop", 200),
        (http, "/metrics", 404),
        (http, "/health/status", 404),
        (http, "/v1/me", 404),
        (http, "/openapi.json", 404),
        (api, "/health/live", 200),
        (api, "/health/ready", 200),
        (api, "/metrics", 200),
        (api, "/v1/me", 401),
        (api, "/webchat/test?site=shop", 404),
        (api, "/callbacks/whatsapp", 404),
    ] {
        let (found, kind, body) = process.get(at, path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(found < 400 || kind == "application/problem+json", "{path}: {kind}");
    }
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_may_have_everything() {
    let process = Running::start(&["http.listen=127.0.0.1:0", "api.listen=127.0.0.1:0"]).await;
    let Addresses { http, api } = process.addresses;
    assert_eq!(http, api);
    process.until_ready_is(200).await;
    for (path, status) in [("/metrics", 200), ("/v1/me", 401), ("/webchat/test?site=shop", 200)] {
        assert_eq!(process.get(http, path).await.0, status, "{path}");
    }
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_drains_is_not_ready_and_goes_on_answering() {
    let sets = ["http.listen=127.0.0.1:0", "api.listen=localhost:0", "http.drain_delay_ms=3000"];
    let process = Running::start(&sets).await;
    process.until_ready_is(200).await;
    process.stop.cancel();
    let told = process.until_ready_is(503).await;
    assert!(told.contains("stopping"), "{told}");
    let Addresses { http, api } = process.addresses;
    assert_eq!(process.get(api, "/health/ready").await.0, 503);
    assert_eq!(process.get(http, "/health/live").await.0, 200);
    assert_eq!(process.get(http, "/webchat/test?site=shop").await.0, 200, "what still comes is done");
    process.end().await;
}

fn loket(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loket")).args(words).output().expect("the program")
}

#[test]
fn a_split_on_embedded_backends_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().display();
    let (bus, store) = (format!("bus.url=embedded:{home}/bus"), format!("store.url=sqlite:{home}/loket.db"));
    for (roles, named, unnamed) in [
        ("hub", &["bus.url", "store.url", "kv.url", "amqp://", "postgres://", "redis://"][..], &[][..]),
        ("agent-api,hub", &["bus.url", "store.url", "kv.url"], &[]),
        ("connectors", &["bus.url", "kv.url"], &["store.url"]),
        ("webhook", &["there is no such role", "connectors, hub, agent-api"], &[]),
    ] {
        let output = loket(&["--set", &bus, "--set", &store, "serve", "--roles", roles]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{roles}");
        assert!(named.iter().all(|word| told.contains(word)), "{roles}: {told}");
        assert!(!unnamed.iter().any(|word| told.contains(word)), "{roles}: {told}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "nothing was made");
}

#[test]
fn doctor_names_each_backend_that_is_away_and_no_password() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let sets = [
        format!("bus.url=amqp://loket:hunter2@127.0.0.1:{port}/%2f"),
        format!("store.url=postgres://loket:hunter2@127.0.0.1:{port}/loket"),
        format!("kv.url=redis://:hunter2@127.0.0.1:{port}/0"),
    ];
    let [bus, store, kv] = &sets;
    let output = loket(&["--set", bus, "--set", store, "--set", kv, "doctor"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{said}");
    for name in ["wrong kv.url: 127.0.0.1:", "wrong bus.url: 127.0.0.1:", "wrong store.url: 127.0.0.1:"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let all = said + &String::from_utf8_lossy(&output.stderr);
    assert!(!all.contains("hunter2"), "{all}");
}
