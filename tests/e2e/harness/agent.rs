//! An agent at the API, and their live socket.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::DEADLINE;

/// A logged-in agent.
#[derive(Clone)]
pub(crate) struct AgentClient {
    http: reqwest::Client,
    base: String,
    /// Their bearer token.
    pub token: String,
}

impl AgentClient {
    pub(super) async fn log_in(http: reqwest::Client, base: String, login: &str, password: &str) -> Self {
        let answer = http
            .post(format!("{base}/v1/sessions"))
            .json(&json!({"login": login, "password": password}))
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(status.as_u16(), 201, "{body}");
        Self { http, base, token: body["token"].as_str().expect("a token").to_owned() }
    }

    /// GET; the status and the JSON.
    pub(crate) async fn look(&self, path: &str) -> (u16, Value) {
        self.try_look(path).await.expect("an answer")
    }

    /// GET; nothing when the process is away.
    pub(crate) async fn try_look(&self, path: &str) -> Option<(u16, Value)> {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// GET that must go well.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.look(path).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// POST with an idempotency key; the status and the JSON.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        self.try_post(path, key, body).await.expect("an answer")
    }

    /// POST with an idempotency key; nothing when the process is away.
    pub(crate) async fn try_post(&self, path: &str, key: &str, body: &Value) -> Option<(u16, Value)> {
        let answer = self
            .http
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .header("Idempotency-Key", key)
            .json(body)
            .send()
            .await
            .ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// All items of a list, over its pages.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let next = cursor.map(|c| format!("{join}cursor={c}")).unwrap_or_default();
            let page = self.get(&format!("{path}{next}")).await;
            items.extend(page["items"].as_array().expect("items").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(more) => cursor = Some(more.to_owned()),
                None => return items,
            }
        }
    }

    /// All threads.
    pub(crate) async fn threads(&self) -> Vec<Value> {
        self.all("/v1/threads?limit=200").await
    }

    /// All messages of a thread in ascending order of seq.
    pub(crate) async fn messages(&self, thread: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/v1/threads/{thread}/messages?after_seq={after}&limit=200")).await;
            let page = page["items"].as_array().expect("items").clone();
            let Some(last) = page.last() else { return items };
            after = last["seq"].as_i64().expect("a seq");
            items.extend(page);
        }
    }

    /// The whole log.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/v1/events?after={after}&limit=500")).await;
            let page = page["items"].as_array().expect("items").clone();
            let Some(last) = page.last() else { return items };
            after = last["seq"].as_i64().expect("a seq");
            items.extend(page);
        }
    }

    /// The live socket, from the entry after `after`.
    pub(crate) async fn stream(&self, after: i64) -> Stream {
        self.try_stream(after).await.expect("the socket opens")
    }

    /// The live socket; nothing when the process is away.
    pub(crate) async fn try_stream(&self, after: i64) -> Option<Stream> {
        let url = format!("{}/v1/stream?after={after}", self.base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        let bearer = format!("Bearer {}", self.token).parse().expect("a header");
        request.headers_mut().insert("Authorization", bearer);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.ok()?;
        Some(Stream { socket })
    }
}

/// A live socket.
pub(crate) struct Stream {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Stream {
    /// The next frame; nothing when the socket has ended or `wait` is over.
    pub(crate) async fn frame(&mut self, wait: Duration) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(wait, self.socket.next()).await.ok()??.ok()?;
            match message {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The next event that fits.
    pub(crate) async fn event(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            assert!(tokio::time::Instant::now() < end, "no such event came: {what}");
            if let Some(frame) = self.frame(DEADLINE).await
                && frame["type"] == "event"
                && fits(&frame["event"])
            {
                return frame["event"].clone();
            }
        }
    }
}
