//! How fast strangers may go (`security` §12), counted in kv before the work. Without kv nobody is
//! held back: losing it loses nothing but this.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use loket_backbone::kv::SharedKv;
use loket_protocol::ids::VisitorId;
use serde::Deserialize;

use crate::refusal::Refusal;

/// The time that all rates are given for.
const MINUTE: Duration = Duration::from_mins(1);
/// What somebody who is too fast is told to wait, in seconds.
const RETRY_AFTER_S: u32 = 60;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The section `webchat.rates`: how many a minute.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// New visitors from one address.
    pub visitors_per_address: u64,
    /// New visitors of one site.
    pub visitors_per_site: u64,
    /// Messages of one visitor.
    pub messages_per_visitor: u64,
    /// Messages from one address.
    pub messages_per_address: u64,
    /// Sockets opened from one address.
    pub sockets_per_address: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            visitors_per_address: 10,
            visitors_per_site: 300,
            messages_per_visitor: 20,
            messages_per_address: 60,
            sockets_per_address: 30,
        }
    }
}

/// Counts one more of `what` for `whom`, and refuses when there are more than `most` in a minute.
pub(super) async fn count(kv: &SharedKv, what: &'static str, whom: &str, most: u64) -> Result<(), Refusal> {
    match kv.count(&format!("webchat:rate:{what}:{whom}"), MINUTE).await {
        Ok(count) if count > most => {
            metrics::counter!("loket_webchat_refused_total", "rate" => what).increment(1);
            Err(Refusal::TooMany(RETRY_AFTER_S))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "a rate was not counted");
            Ok(())
        }
    }
}

/// Counts one more message of a visitor.
pub(super) async fn count_message(
    kv: &SharedKv,
    rates: &Rates,
    visitor: VisitorId,
    address: IpAddr,
) -> Result<(), Refusal> {
    count(kv, "messages_per_visitor", &visitor.to_string(), rates.messages_per_visitor).await?;
    count(kv, "messages_per_address", &address.to_string(), rates.messages_per_address).await
}

/// Whom a request counts for: the address of the connection, or, when that is a trusted proxy's, the
/// last address in `X-Forwarded-For` that is not. An IPv6 address counts with its whole /64.
pub(super) fn address(request: &HttpRequest, trusted_proxies: &[IpAddr]) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let forwarded = request.headers().get_all(&FORWARDED_FOR).filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    network(behind_proxies(peer, &forwarded, trusted_proxies))
}

fn behind_proxies(peer: IpAddr, forwarded: &[&str], trusted_proxies: &[IpAddr]) -> IpAddr {
    let mut address = peer.to_canonical();
    for hop in forwarded.iter().rev() {
        if !trusted_proxies.contains(&address) {
            break;
        }
        let Ok(next) = hop.parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => IpAddr::from((u128::from(six) >> 64 << 64).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpAddr> = trusted.iter().map(|proxy| proxy.parse().unwrap()).collect();
        network(behind_proxies(peer.parse().unwrap(), forwarded, &trusted)).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_from_the_right() {
        assert_eq!(seen("198.51.100.7", &[], &[]), "198.51.100.7");
        assert_eq!(seen("198.51.100.7", &["203.0.113.9"], &[]), "198.51.100.7", "a spoofed header");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9"], &["10.0.0.1"]), "203.0.113.9");
        let spoofed = ["192.0.2.1", "203.0.113.9"];
        assert_eq!(seen("10.0.0.1", &spoofed, &["10.0.0.1"]), "203.0.113.9", "what the customer claims");
        let chain = ["203.0.113.9", "10.0.0.2"];
        assert_eq!(seen("10.0.0.1", &chain, &["10.0.0.1", "10.0.0.2"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["junk"], &["10.0.0.1"]), "10.0.0.1");
    }

    #[test]
    fn a_network_of_six_counts_as_one() {
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("::ffff:198.51.100.7", &[], &[]), "198.51.100.7");
    }
}
