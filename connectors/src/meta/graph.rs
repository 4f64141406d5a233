//! The Graph API: one request, one answer, and an exact word for what is known afterwards
//! (`reliability-contract` §3).

use loket_backbone::failpoint;
use loket_backbone::http;
use loket_backbone::secret::Secret;
use loket_protocol::delivery::SendClass;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use super::{json, read};
use crate::channel::SendError;

/// How much of an answer is read (`reliability-contract` §12).
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The longest wait that a `Retry-After` may ask for: a day. More is as good as never.
const RETRY_AFTER_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Where the Graph API is.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraphSettings {
    /// Scheme, host and port. Our tokens go there and nowhere else (`security` O2); another value
    /// than the platform's own is for the simulator.
    pub url: String,
    /// The version in paths (`whatsapp` §1).
    pub version: String,
}

impl Default for GraphSettings {
    fn default() -> Self {
        Self { url: "https://graph.facebook.com".to_owned(), version: "v26.0".to_owned() }
    }
}

/// An error that Graph answered: the request surely had no effect, unless the channel's own table
/// knows better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// The HTTP status, a weak hint: throttling comes as 400 (`whatsapp` §14).
    pub status: u16,
    /// The code, on which all logic is based.
    pub code: i64,
    /// The sub-code.
    pub subcode: Option<i64>,
    /// Graph says that it will pass.
    pub is_transient: bool,
    /// What the header `Retry-After` asks, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl GraphError {
    /// This error as a send that did not happen.
    pub fn not_sent(&self, class: SendClass, sentence: impl Into<String>) -> SendError {
        SendError::NotSent {
            class,
            code: Some(self.code),
            subcode: self.subcode,
            retry_after_ms: self.retry_after_ms,
            sentence: sentence.into(),
        }
    }

    /// What to do about a code that no table knows: what passes is tried again, the rest is final.
    pub fn unlisted(&self) -> SendClass {
        if self.is_transient || self.status >= 500 || self.status == 429 {
            SendClass::Retry
        } else {
            SendClass::Final
        }
    }
}

/// A call that did not end in an answer to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphFailure {
    /// Nothing was written, or Graph turned us away without looking: it surely had no effect.
    NotSent {
        /// What to do about it.
        class: SendClass,
        /// Not before so many milliseconds.
        retry_after_ms: Option<u64>,
        /// For the agent and the operator.
        sentence: String,
    },
    /// Graph answered with an error, to be looked up in the channel's code table.
    Refused(GraphError),
    /// The request left and nobody can know what became of it; the text says how it was lost.
    Unconfirmed(String),
}

impl GraphFailure {
    /// As a send's error; `table` is the channel's code table.
    pub fn into_send_error(self, table: impl FnOnce(&GraphError) -> SendError) -> SendError {
        match self {
            Self::NotSent { class, retry_after_ms, sentence } => {
                SendError::NotSent { class, code: None, subcode: None, retry_after_ms, sentence }
            }
            Self::Refused(error) => table(&error),
            Self::Unconfirmed(why) => SendError::Unconfirmed(why),
        }
    }

    fn retry(sentence: &str, retry_after_ms: Option<u64>) -> Self {
        Self::NotSent { class: SendClass::Retry, retry_after_ms, sentence: sentence.to_owned() }
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::NotSent { .. } => "not_sent",
            Self::Refused(_) => "refused",
            Self::Unconfirmed(_) => "unconfirmed",
        }
    }
}

/// A client of the one configured Graph host. It does not retry and follows no redirect. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Graph {
    client: reqwest::Client,
    base: String,
}

impl Graph {
    /// A client for these settings. The error is one sentence that says what to change.
    pub fn new(settings: &GraphSettings) -> Result<Self, String> {
        Self::with_limits(settings, http::GRAPH)
    }

    fn with_limits(settings: &GraphSettings, limits: http::Limits) -> Result<Self, String> {
        let url =
            reqwest::Url::parse(&settings.url).map_err(|error| format!("graph.url is not a URL: {error}"))?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_bare {
            return Err("graph.url must be http(s)://host, without credentials or a query".to_owned());
        }
        let version = &settings.version;
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            return Err("graph.version must look like v26.0".to_owned());
        }
        let client = http::client(limits)
            .map_err(|error| format!("the client for graph.url cannot be made: {error}"))?;
        Ok(Self { client, base: format!("{}/{version}", url.as_str().trim_end_matches('/')) })
    }

    /// One POST of `body` to `path` (such as `<id>/messages`, made of checked ids only). Answers the
    /// JSON of a 2xx without an error in it.
    pub async fn post_json(&self, path: &str, token: &Secret, body: &Value) -> Result<Value, GraphFailure> {
        let request = self
            .client
            .post(format!("{}/{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        self.call(request, token).await
    }

    /// One GET of `path`, which may carry a query. Answers as [`Self::post_json`] does.
    pub async fn get_json(&self, path: &str, token: &Secret) -> Result<Value, GraphFailure> {
        self.call(self.client.get(format!("{}/{path}", self.base)), token).await
    }

    async fn call(&self, request: reqwest::RequestBuilder, token: &Secret) -> Result<Value, GraphFailure> {
        let result = exchange(request, token).await;
        let outcome = result.as_ref().map_or_else(GraphFailure::outcome, |_| "answered");
        metrics::counter!("loket_graph_calls_total", "outcome" => outcome).increment(1);
        result
    }
}

async fn exchange(request: reqwest::RequestBuilder, token: &Secret) -> Result<Value, GraphFailure> {
    let mut bearer =
        HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| GraphFailure::NotSent {
            class: SendClass::Configuration,
            retry_after_ms: None,
            sentence: "The access token has characters that no token has; enter it again.".to_owned(),
        })?;
    bearer.set_sensitive(true);
    failpoint!(
        "sender.request.before",
        GraphFailure::retry("It failed on purpose before it was sent.", None)
    );
    let asked = request.header(AUTHORIZATION, bearer).send().await;
    failpoint!("sender.request.after", GraphFailure::Unconfirmed("on purpose".to_owned()));
    let mut response = match asked {
        Ok(response) => response,
        // A connection that never stood carried nothing; after it stood, any byte may have left.
        Err(error) if error.is_connect() || error.is_builder() => {
            return Err(GraphFailure::retry("The provider could not be reached; it is tried again.", None));
        }
        Err(error) if error.is_timeout() => {
            return Err(GraphFailure::Unconfirmed("no answer within the time limit".to_owned()));
        }
        Err(_) => {
            return Err(GraphFailure::Unconfirmed("the connection broke before the answer".to_owned()));
        }
    };
    let status = response.status();
    let retry_after_ms = retry_after(response.headers().get(RETRY_AFTER));
    failpoint!("sender.response.before", GraphFailure::Unconfirmed("on purpose".to_owned()));
    let answer = match body_of(&mut response).await {
        Ok(bytes) => json::parse(&bytes).map_err(|_| "the answer could not be read"),
        Err(why) => Err(why),
    };
    failpoint!("sender.response.after", GraphFailure::Unconfirmed("on purpose".to_owned()));
    if let Ok(answer) = &answer
        && let Some(error) = graph_error(answer, status, retry_after_ms)
    {
        let trace = answer.get("error").and_then(|error| read::text(error, "fbtrace_id"));
        tracing::info!(
            status = error.status,
            code = error.code,
            subcode = error.subcode,
            trace,
            "Graph refused"
        );
        return Err(GraphFailure::Refused(error));
    }
    match answer {
        Ok(answer) if status.is_success() => Ok(answer),
        _ if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            let sentence = "The provider is busy; it is tried again.";
            Err(GraphFailure::retry(sentence, retry_after_ms))
        }
        Err(why) if status.is_success() => Err(GraphFailure::Unconfirmed(why.to_owned())),
        _ => Err(GraphFailure::Unconfirmed(format!("status {} without a Graph error", status.as_u16()))),
    }
}

async fn body_of(response: &mut reqwest::Response) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "the connection broke within the answer")? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("the answer is over the limit");
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The error in an answer of any status. An `error` that is no object with a code is not one of
/// Graph's, and says nothing about what happened.
fn graph_error(answer: &Value, status: StatusCode, retry_after_ms: Option<u64>) -> Option<GraphError> {
    let error = read::field(answer, "error")?;
    Some(GraphError {
        status: status.as_u16(),
        code: read::number(error, "code")?,
        subcode: read::number(error, "error_subcode"),
        is_transient: read::flag(error, "is_transient").unwrap_or(false),
        retry_after_ms,
    })
}

/// Seconds as milliseconds. The form with a date is not used by Graph and is passed over.
fn retry_after(header: Option<&HeaderValue>) -> Option<u64> {
    let seconds: u64 = header?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000).min(RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::scripted::{Script, Scripted};
    use super::*;

    fn graph_at(url: &str) -> Result<Graph, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let limits = http::Limits { connect: Duration::from_millis(900), total: Duration::from_secs(1) };
        Graph::with_limits(&GraphSettings { url: url.to_owned(), ..GraphSettings::default() }, limits)
    }

    async fn posted(url: &str) -> Result<Value, GraphFailure> {
        let body = json!({"text": "héllo"});
        graph_at(url).unwrap().post_json("7/messages", &Secret::new("a-token"), &body).await
    }

    async fn outcome(script: Script) -> Result<Value, GraphFailure> {
        posted(&Scripted::new(script).await.url).await
    }

    fn answer(status: u16, body: &str) -> Script {
        Script::Answer(status, "", body.to_owned())
    }

    #[tokio::test]
    async fn a_request_carries_token_and_json_to_the_versioned_path() {
        let provider = Scripted::answering(&json!({"id": "x"})).await;
        assert_eq!(posted(&provider.url).await, Ok(json!({"id": "x"})));
        let asked = provider.only_request();
        assert_eq!(asked.line, "POST /v26.0/7/messages HTTP/1.1");
        assert!(asked.headers.contains(&"authorization: Bearer a-token".to_owned()), "{:?}", asked.headers);
        assert!(asked.headers.contains(&"content-type: application/json".to_owned()), "{:?}", asked.headers);
        assert_eq!(asked.body, json!({"text": "héllo"}));

        let provider = Scripted::answering(&json!({"id": "x"})).await;
        let graph = graph_at(&format!("{}/", provider.url)).unwrap();
        assert_eq!(graph.get_json("7?fields=id", &Secret::new("a-token")).await, Ok(json!({"id": "x"})));
        assert_eq!(provider.only_request().line, "GET /v26.0/7?fields=id HTTP/1.1");
    }

    #[tokio::test]
    async fn what_never_left_is_not_sent() {
        for url in ["http://127.0.0.1:1", "http://nowhere.invalid"] {
            let failure = posted(url).await;
            let Err(GraphFailure::NotSent { class: SendClass::Retry, .. }) = failure else {
                panic!("{url}: {failure:?}");
            };
        }
    }

    /// A certificate for 127.0.0.1 that nobody has signed, with its key: for this test only.
    const CERTIFICATE: &str = "MIIBWzCCAQ2gAwIBAgIUPjguYBKJaBIHrTpPSIshmuXEWuUwBQYDK2VwMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDAgFw\
         0yNjExMjEyMzUyMzZaGA8yMTI2MTAyODIzNTIzNlowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEAUZfJ\
         O2Z/NREuObA4sjUOponHpA6gPz6mHJBhKYpSieqjbzBtMB0GA1UdDgQWBBQ5lnuYcoX+ovqBmP6YI/Gsa7fUkTAfBg\
         NVHSMEGDAWgBQ5lnuYcoX+ovqBmP6YI/Gsa7fUkTAPBgNVHRMBAf8EBTADAQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9z\
         dIcEfwAAATAFBgMrZXADQQBHveWKd3809qlDRnZKh1ep4XDaxgtTbYJy3Y+uRfrcm4uYSiC/vNZ8emi9tH2OHfsQTA\
         b5zwtIa98MuHX/j00M";
    const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIFyIAFn/Z1iEyp71yI+z06NbFzW+QIE2KOZ5Rrtco9wL";

    /// A server whose certificate is nobody's; the receiver tells what it could decrypt of each caller.
    fn unknown_server() -> (String, tokio::sync::mpsc::Receiver<Vec<u8>>) {
        use base64::Engine as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
        use std::io::Read as _;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bytes = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes(KEY)));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(bytes(CERTIFICATE))], key)
            .unwrap();
        let config = std::sync::Arc::new(config);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (told, heard) = tokio::sync::mpsc::channel(4);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(config).unwrap();
            let mut decrypted = Vec::new();
            // It ends with an error as soon as the caller has looked at the certificate.
            let _ = rustls::Stream::new(&mut tls, &mut stream).read_to_end(&mut decrypted);
            told.blocking_send(decrypted).unwrap();
        });
        (url, heard)
    }

    #[tokio::test]
    async fn a_tls_failure_is_not_sent() {
        let secured = |url: String| url.replacen("http:", "https:", 1);
        let no_tls = secured(Scripted::new(Script::Noise).await.url);
        let gone = secured(Scripted::new(Script::Hangup).await.url);
        let (unknown, mut heard) = unknown_server();
        for url in [&no_tls, &gone, &unknown] {
            let failure = posted(url).await;
            let Err(GraphFailure::NotSent { class: SendClass::Retry, .. }) = failure else {
                panic!("{url}: {failure:?}");
            };
        }
        assert_eq!(heard.recv().await, Some(Vec::new()), "neither token nor message left");
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_one_is_a_matter_of_configuration() {
        let provider = Scripted::answering(&json!({})).await;
        let failure =
            graph_at(&provider.url).unwrap().get_json("7", &Secret::new("two\nlines")).await.unwrap_err();
        assert!(matches!(failure, GraphFailure::NotSent { class: SendClass::Configuration, .. }));
        assert!(provider.asked().is_empty());
    }

    #[tokio::test]
    async fn an_error_of_graph_counts_in_any_status() {
        let body = r#"{"error":{"message":"x","code":"131056","error_subcode":7,"is_transient":true}}"#;
        for status in [200, 400, 401, 429, 500, 503] {
            let script = Script::Answer(status, "retry-after: 9\r\n", body.to_owned());
            let expected = GraphError {
                status,
                code: 131_056,
                subcode: Some(7),
                is_transient: true,
                retry_after_ms: Some(9_000),
            };
            assert_eq!(outcome(script).await, Err(GraphFailure::Refused(expected)), "{status}");
        }
    }

    #[tokio::test]
    async fn a_busy_provider_took_nothing() {
        for status in [429, 503] {
            for (headers, wait) in
                [("retry-after: 30\r\n", Some(30_000)), ("", None), ("retry-after: soon\r\n", None)]
            {
                for body in ["", "<html>busy</html>", "{}"] {
                    let failure = outcome(Script::Answer(status, headers, body.to_owned())).await;
                    let Err(GraphFailure::NotSent { class: SendClass::Retry, retry_after_ms, .. }) = failure
                    else {
                        panic!("{status} {body}: {failure:?}");
                    };
                    assert_eq!(retry_after_ms, wait);
                }
            }
        }
    }

    #[tokio::test]
    async fn everything_else_is_unconfirmed() {
        let large = format!("{{\"id\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX));
        let scripts = [
            Script::Silence,
            Script::Hangup,
            Script::Torn,
            Script::Endless,
            Script::Noise,
            answer(500, ""),
            answer(500, "{}"),
            answer(502, "<html>"),
            answer(504, r#"{"error":"x"}"#),
            answer(404, ""),
            answer(400, r#"{"error":{"message":"no code"}}"#),
            answer(200, "<html>"),
            answer(200, ""),
            answer(200, &large),
        ];
        for script in scripts {
            let failure = outcome(script.clone()).await;
            assert!(matches!(failure, Err(GraphFailure::Unconfirmed(_))), "{script:?}: {failure:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_the_token_stays() {
        let elsewhere = Scripted::answering(&json!({"messages": [{"id": "x"}]})).await;
        let location: &'static str = format!("location: {}/v26.0/7/messages\r\n", elsewhere.url).leak();
        for status in [301, 302, 307, 308] {
            let failure = outcome(Script::Answer(status, location, String::new())).await;
            assert!(matches!(failure, Err(GraphFailure::Unconfirmed(_))), "{status}: {failure:?}");
        }
        assert!(elsewhere.asked().is_empty());
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_a_sentence() {
        for url in [
            "",
            "graph.facebook.com",
            "ftp://graph.facebook.com",
            "https://user:pass@host",
            "https://host/?a=1",
        ] {
            assert!(graph_at(url).unwrap_err().contains("graph.url"), "{url}");
        }
        let settings = GraphSettings { version: "v26/..".to_owned(), ..GraphSettings::default() };
        assert!(Graph::new(&settings).unwrap_err().contains("graph.version"));
        assert!(graph_at(&GraphSettings::default().url).is_ok());
    }

    #[test]
    fn a_failure_becomes_a_send_error_by_the_table() {
        let error =
            GraphError { status: 400, code: 1, subcode: Some(2), is_transient: false, retry_after_ms: None };
        assert_eq!(error.unlisted(), SendClass::Final);
        assert_eq!(GraphError { status: 429, ..error.clone() }.unlisted(), SendClass::Retry);
        let table = |error: &GraphError| error.not_sent(SendClass::PacePair, "slow down");
        let sent = GraphFailure::Refused(error).into_send_error(table);
        let expected = SendError::NotSent {
            class: SendClass::PacePair,
            code: Some(1),
            subcode: Some(2),
            retry_after_ms: None,
            sentence: "slow down".to_owned(),
        };
        assert_eq!(sent, expected);
        let lost = GraphFailure::Unconfirmed("lost".to_owned()).into_send_error(table);
        assert_eq!(lost, SendError::Unconfirmed("lost".to_owned()));
    }
}
