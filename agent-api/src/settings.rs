//! Section `[api]` of the settings.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How the agent API listens and what it lets through. Every limit is per process, but for the rate
/// of requests, which is counted in kv.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// Address and port to listen on; absent means the same as `http.listen`.
    pub listen: Option<String>,
    /// Origins from which a browser may open `/v1/stream`, exact, such as `https://inbox.example`.
    /// A connection that names no origin is not a page's and needs only its bearer token.
    pub allowed_origins: Vec<String>,
    /// Addresses or networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Requests per token and minute; 0 means no limit (`security` §12).
    pub requests_per_minute: u32,
    /// How many of them may come at once.
    pub burst: u32,
    /// Requests that are carried out at the same time; reading is refused at seven eighths of it.
    pub requests_at_once: usize,
    /// Long polls that wait at the same time.
    pub long_polls: usize,
    /// Open sockets.
    pub sockets: usize,
    /// Open sockets of one session or key.
    pub sockets_per_session: usize,
    /// Open sockets from one address.
    pub sockets_per_address: usize,
    /// Socket handshakes per address and minute; 0 means no limit.
    pub handshakes_per_minute: u32,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            requests_per_minute: 600,
            burst: 100,
            requests_at_once: 512,
            long_polls: 512,
            sockets: 20_000,
            sockets_per_session: 10,
            sockets_per_address: 50,
            handshakes_per_minute: 30,
        }
    }
}

/// A setting that cannot be; the sentence names it and says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(self, candidate: IpAddr) -> bool {
        match (self.address, candidate) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                self.bits == 0 || differ >> (32 - self.bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                self.bits == 0 || differ >> (128 - self.bits) == 0
            }
            _ => false,
        }
    }
}

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<Network>);

impl Proxies {
    /// Whose request it is: the peer, or, when the peer is a proxy of ours, the nearest address in
    /// `X-Forwarded-For` (read from the right) that is not one of ours (`security` §12).
    pub(crate) fn client(&self, peer: IpAddr, forwarded: &[&str]) -> IpAddr {
        let ours = |address: IpAddr| self.0.iter().any(|network| network.contains(address));
        let mut client = peer.to_canonical();
        let hops = forwarded.iter().rev().flat_map(|line| line.split(',').rev());
        for hop in hops {
            if !ours(client) {
                break;
            }
            match hop.trim().parse::<IpAddr>() {
                Ok(address) => client = address.to_canonical(),
                Err(_) => break,
            }
        }
        client
    }
}

impl ApiSettings {
    /// Checks the values; the front door calls it at start.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.proxies().map(drop)?;
        for origin in &self.allowed_origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' '])) {
                return Err(SettingsError(format!(
                    "api.allowed_origins: {origin:?} is not an origin; write scheme, host and port only, such as https://inbox.example"
                )));
            }
        }
        for (name, value) in [
            ("requests_at_once", self.requests_at_once),
            ("long_polls", self.long_polls),
            ("sockets", self.sockets),
            ("sockets_per_session", self.sockets_per_session),
            ("sockets_per_address", self.sockets_per_address),
        ] {
            if value == 0 {
                return Err(SettingsError(format!("api.{name}: 0 would let nobody in; write at least 1")));
            }
        }
        if self.requests_per_minute > 0 && self.burst == 0 {
            return Err(SettingsError("api.burst: 0 would let nobody in; write at least 1".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn proxies(&self) -> Result<Proxies, SettingsError> {
        let parse = |text: &String| {
            Network::parse(text).ok_or_else(|| {
                SettingsError(format!(
                    "api.trusted_proxies: {text:?} is not an address or a network; write one such as 10.0.0.0/8"
                ))
            })
        };
        self.trusted_proxies.iter().map(parse).collect::<Result<Vec<_>, _>>().map(Proxies)
    }

    /// The window in which [`Self::burst`] requests may come so that the rate per minute holds, in
    /// milliseconds.
    pub(crate) fn burst_window_ms(&self) -> u64 {
        u64::from(self.burst) * 60_000 / u64::from(self.requests_per_minute.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &[&str]) -> Proxies {
        let settings = ApiSettings {
            trusted_proxies: list.iter().map(|text| (*text).to_owned()).collect(),
            ..ApiSettings::default()
        };
        settings.proxies().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_our_proxies_and_from_the_right() {
        let none = proxies(&[]);
        assert_eq!(none.client(ip("203.0.113.9"), &["1.2.3.4"]), ip("203.0.113.9"));
        let two = proxies(&["10.0.0.0/8", "::1"]);
        let cases: &[(&str, &[&str], &str)] = &[
            ("203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            ("10.1.1.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", &["6.6.6.6", "203.0.113.9, 10.2.2.2"], "203.0.113.9"),
            ("::1", &["not an address"], "::1"),
            ("10.1.1.1", &[], "10.1.1.1"),
            ("::ffff:10.1.1.1", &["203.0.113.9"], "203.0.113.9"),
        ];
        for (peer, forwarded, client) in cases {
            assert_eq!(two.client(ip(peer), forwarded), ip(client), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn networks_are_read_and_compared() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0", "x/8"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
        assert!(Network::parse("0.0.0.0/0").unwrap().contains(ip("9.9.9.9")));
        assert!(!Network::parse("0.0.0.0/0").unwrap().contains(ip("::1")));
        assert!(Network::parse("fd00::/8").unwrap().contains(ip("fd12::1")));
        assert!(!Network::parse("192.168.1.0/24").unwrap().contains(ip("192.168.2.1")));
    }

    #[test]
    fn impossible_settings_are_refused_with_their_name() {
        assert_eq!(ApiSettings::default().check(), Ok(()));
        let bad_origin = ApiSettings { allowed_origins: vec!["*".into()], ..ApiSettings::default() };
        assert!(bad_origin.check().unwrap_err().0.contains("api.allowed_origins"));
        let nobody = ApiSettings { sockets: 0, ..ApiSettings::default() };
        assert!(nobody.check().unwrap_err().0.contains("api.sockets"));
        assert!(serde_json::from_str::<ApiSettings>(r#"{"sockts": 1}"#).is_err());
    }

    #[test]
    fn the_window_of_a_burst_follows_from_the_rate() {
        assert_eq!(ApiSettings::default().burst_window_ms(), 10_000);
    }
}
