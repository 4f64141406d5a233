//! Outgoing HTTP with limits. Every client that Loket uses is made here: [`client`] for addresses that
//! the operator configured, [`Guarded`] for every address that comes from outside.

use std::time::Duration;

mod guarded;
mod rules;
#[cfg(test)]
mod trials;

pub use guarded::{Address, Answer, Call, Failed, Failure, Guarded, Network, Phases, System};
pub use rules::{Refusal, Rules, URL_BYTES_MAX};

/// The limits of one kind of call (`reliability-contract` §12).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// From start to the last byte read.
    pub total: Duration,
}

/// Calls to the Graph API.
pub const GRAPH: Limits = Limits { connect: Duration::from_secs(3), total: Duration::from_secs(15) };

/// A client with these limits: no redirects, no proxy from the environment, no cookies. Needs a
/// TLS provider installed by the front door; without one this is an error, not a panic.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn client(limits: Limits) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(limits.connect)
        .timeout(limits.total)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every connection with `answer`, and then says nothing more; counts them.
    async fn server(answer: &'static str) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        crate::tasks::Tasks::new().spawn("server", async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                open.push(stream);
            }
        });
        (address, calls)
    }

    fn client(total_ms: u64) -> reqwest::Client {
        // A second provider is refused, which is fine: the first one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let limits = Limits { connect: Duration::from_secs(5), total: Duration::from_millis(total_ms) };
        super::client(limits).unwrap()
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let (other, followed) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: {other}\r\ncontent-length: 0\r\n\r\n");
        let (address, _) = server(answer.leak()).await;
        let response = client(10_000).get(address).send().await.unwrap();
        assert_eq!(response.status(), 302);
        assert_eq!(followed.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn the_deadline_covers_the_wait_for_an_answer_and_for_all_of_its_body() {
        let patience = Duration::from_secs(10);
        let (silent, _) = server("").await;
        let call = client(50).get(silent).send();
        let error = tokio::time::timeout(patience, call).await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");

        let (stalling, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        let response = client(300).get(stalling).send().await.unwrap();
        let error = tokio::time::timeout(patience, response.bytes()).await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
    }
}
