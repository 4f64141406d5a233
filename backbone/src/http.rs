//! Outgoing HTTP with limits. Every client that Loket uses is made here.

use std::time::Duration;

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
