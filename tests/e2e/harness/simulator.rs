//! Meta's platforms and customers' phones: `loket simulate` as a process, on the world's own settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use super::eventually;

/// A running simulator. Dropping the last of its clones kills the process.
#[derive(Clone)]
pub(crate) struct Simulator {
    _child: Arc<tokio::process::Child>,
    http: reqwest::Client,
    base: String,
}

impl Simulator {
    pub(super) async fn start(http: reqwest::Client, settings: &Path, port: u16, callbacks: &str) -> Self {
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_loket"))
            .arg("--config")
            .arg(settings)
            .args(["simulate", "--listen", &format!("127.0.0.1:{port}"), "--callbacks", callbacks])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let simulator = Self { _child: Arc::new(child), http, base: format!("http://127.0.0.1:{port}") };
        eventually("the simulator listens", || async {
            let answer = simulator.http.get(simulator.url("/sim/v1/health")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        simulator
    }

    /// An address of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// GET on its own API.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.url(path)).send().await.expect("an answer");
        assert!(answer.status().is_success(), "GET {path}: {}", answer.status());
        answer.json().await.expect("JSON")
    }

    /// PUT on its own API.
    pub(crate) async fn put(&self, path: &str, body: &Value) {
        let answer = self.http.put(self.url(path)).json(body).send().await.expect("an answer");
        let status = answer.status();
        assert!(status.is_success(), "PUT {path}: {status} {}", answer.text().await.unwrap_or_default());
    }

    /// A customer does something on their phone; the ids of what came of it.
    pub(crate) async fn says(&self, customer: &str, what: &Value) -> Vec<String> {
        let path = format!("/sim/v1/phones/{customer}/messages");
        let answer = self.http.post(self.url(&path)).json(what).send().await.expect("an answer");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(status.as_u16(), 201, "{what}: {body}");
        let ids = body["message_ids"].as_array().expect("ids");
        ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
    }

    /// Somebody new on WhatsApp, called by this name.
    pub(crate) async fn meets(&self, customer: &str) {
        let new = json!({"id": customer, "name": customer});
        let answer =
            self.http.post(self.url("/sim/v1/customers")).json(&new).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201, "{customer}");
    }

    /// Takes the platform's limits away, and repeats callbacks soon.
    pub(crate) async fn hurries(&self) {
        let rules = json!({"pair_burst": 0, "number_per_second": 0, "retry_ms": 20, "retry_ms_max": 100,
            "callbacks_at_once": 16});
        self.put("/sim/v1/rules", &rules).await;
    }

    /// How many copies of each of our messages the platform took, by outbox id.
    pub(crate) async fn copies(&self) -> BTreeMap<String, u64> {
        let told = self.get("/sim/v1/copies").await;
        assert_eq!(told["forgotten"], 0, "the simulator remembers every request");
        serde_json::from_value(told["copies"].clone()).expect("counts")
    }

    /// Waits until every callback was answered 200.
    pub(crate) async fn has_told_all(&self) {
        eventually("all callbacks are answered 200", || async {
            let standing = self.get("/sim/v1/callbacks").await;
            let items = standing["items"].as_array().expect("items");
            assert!(items.iter().all(|item| item["dropped"] == 0), "{standing}");
            items.iter().all(|item| item["waiting"] == 0).then_some(())
        })
        .await;
    }

    /// A customer writes.
    pub(crate) async fn types(&self, customer: &str, text: &str) -> String {
        self.says(customer, &json!({"type": "text", "text": text})).await.remove(0)
    }

    /// A customer looks at their phone: everything on it is read.
    pub(crate) async fn opens(&self, customer: &str) {
        let path = format!("/sim/v1/phones/{customer}/open");
        let answer = self.http.post(self.url(&path)).json(&json!({})).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// What stands on a customer's phone, as one text to search in.
    pub(crate) async fn phone(&self, customer: &str) -> Value {
        self.get(&format!("/sim/v1/phones/{customer}")).await
    }
}
