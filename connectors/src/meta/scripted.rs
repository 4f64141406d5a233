//! A provider for tests: a real listener that answers one script and remembers what it was asked.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the provider does with every request.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Answers with this status, these header lines and this body.
    Answer(u16, &'static str, String),
    /// Reads the request and never answers.
    Silence,
    /// Reads the request and closes.
    Hangup,
    /// Announces a longer body than it sends, and closes.
    Torn,
    /// Sends a body without end.
    Endless,
    /// Speaks no HTTP.
    Noise,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Such as `POST /v26.0/1/messages HTTP/1.1`.
    pub(crate) line: String,
    /// All header lines, lower case names.
    pub(crate) headers: Vec<String>,
    /// The JSON body; null when there was none.
    pub(crate) body: Value,
}

/// A listener on a free port of this machine.
pub(crate) struct Scripted {
    /// Where it listens.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    #[expect(clippy::disallowed_methods, reason = "a test's own listener ends with the test")]
    pub(crate) async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(stream, script.clone(), remembered.clone()));
            }
        });
        Self { url, asked }
    }

    /// An answer of 200 with this body.
    pub(crate) async fn answering(body: &Value) -> Self {
        Self::new(Script::Answer(200, "", body.to_string())).await
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The one request that came.
    pub(crate) fn only_request(&self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

async fn play(mut stream: TcpStream, script: Script, asked: Arc<Mutex<Vec<Asked>>>) {
    if matches!(script, Script::Noise) {
        let _ = stream.write_all(b"220 ready\r\n").await;
        return;
    }
    let Some(request) = request(&mut stream).await else { return };
    asked.lock().unwrap().push(request);
    match script {
        Script::Answer(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} Told\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(body.as_bytes()).await;
        }
        Script::Silence => std::future::pending().await,
        Script::Torn => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"messages\":").await;
        }
        Script::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            while stream.write_all(&[b' '; 8192]).await.is_ok() {}
        }
        Script::Hangup | Script::Noise => {}
    }
}

async fn request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let mut lines = head.lines().map(str::to_owned);
        let line = lines.next()?;
        let headers: Vec<String> = lines.collect();
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let body = serde_json::from_str(body).unwrap_or_default();
            return Some(Asked { line, headers, body });
        }
    }
}
