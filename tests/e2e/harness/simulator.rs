//! Meta's platforms and customers' phones: `loket simulate` as a process, on the world's own settings.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::eventually;

/// A running simulator. Dropping it kills the process.
pub(crate) struct Simulator {
    _child: tokio::process::Child,
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
        let simulator = Self { _child: child, http, base: format!("http://127.0.0.1:{port}") };
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
