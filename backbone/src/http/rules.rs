//! Where Loket is willing to connect (`outgoing-webhooks` §11): pure rules over URLs and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest address.
pub const URL_BYTES_MAX: usize = 2048;

/// Names that mean something inside somebody's house.
const INSIDE_NAMES: [&str; 6] = [".localhost", ".local", ".internal", ".lan", ".home.arpa", ".onion"];

/// Special, private and shared parts of IPv4, and a cloud's inside service on a public address.
const INSIDE_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
    v4([168, 63, 129, 16], 32),
];

/// Only this part of IPv6 is the public internet; loopback, mapped IPv4, NAT64, local and multicast
/// addresses are outside of it without being listed.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0], 3);
/// What is special in it: Teredo and other uses, documentation, 6to4, documentation again.
const INSIDE_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0], 23), v6([0x2001, 0xdb8], 32), v6([0x2002, 0], 16), v6([0x3fff, 0], 20)];

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(head: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], 0, 0, 0, 0, 0, 0), prefix)
}

/// Why an address is refused: a sentence for its owner, which tells nothing of what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub(super) String);

/// What the operator allows and forbids beside the rules that hold everywhere.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Inside networks with receivers of the operator's own. An address literal is allowed in these only.
    pub allow_networks: Vec<IpNet>,
    /// Public addresses that are the operator's own; beats everything else.
    pub deny_networks: Vec<IpNet>,
    /// Ports that may be connected to.
    pub ports: Vec<u16>,
    /// For development: plain HTTP, and any port.
    pub allow_http: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            ports: vec![443, 8443],
            allow_http: false,
        }
    }
}

impl Rules {
    /// Whether this very address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if within(&self.deny_networks) {
            return false;
        }
        within(&self.allow_networks)
            || match address {
                IpAddr::V4(address) => !INSIDE_V4.iter().any(|network| network.contains(&address)),
                IpAddr::V6(address) => {
                    PUBLIC_V6.contains(&address)
                        && !INSIDE_V6.iter().any(|network| network.contains(&address))
                }
            }
    }

    /// Reads an address, or says why it cannot be one. What its name stands for is looked at when it is
    /// connected to.
    pub(super) fn read(&self, text: &str) -> Result<Url, Refusal> {
        let refuse = |sentence: &str| Err(Refusal(sentence.to_owned()));
        if text.len() > URL_BYTES_MAX {
            return Err(Refusal(format!("it is longer than {URL_BYTES_MAX} bytes")));
        }
        // The parser would take these away or turn them into something else.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return refuse("it holds a space, a control character or a backslash");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("it is not an address such as https://host.example/path");
        };
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return refuse("it must begin with https://"),
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') && in_authority(text)
        {
            return refuse("it must not name a user");
        }
        if url.fragment().is_some() {
            return refuse("it must have no part behind #");
        }
        match url.host() {
            Some(Host::Domain(name)) => name_is_outside(name)?,
            Some(Host::Ipv4(address)) => self.literal(text, IpAddr::V4(address))?,
            Some(Host::Ipv6(address)) => self.literal(text, IpAddr::V6(address))?,
            None => return refuse("it names no host"),
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.allow_http && !self.ports.contains(&port) {
            let known: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
            return Err(Refusal(format!("its port must be one of {}", known.join(", "))));
        }
        Ok(url)
    }

    /// A literal is allowed in the operator's own networks only, and only as it is usually written.
    fn literal(&self, text: &str, address: IpAddr) -> Result<(), Refusal> {
        let spelled = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let plain = text.split("://").nth(1).is_some_and(|rest| rest.starts_with(&spelled));
        if plain
            && self.allow_networks.iter().any(|network| network.contains(&address))
            && self.allows(address)
        {
            return Ok(());
        }
        Err(Refusal("its host must be a name and not an address".to_owned()))
    }
}

/// Whether an `@` stands before the path.
fn in_authority(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn name_is_outside(name: &str) -> Result<(), Refusal> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if !name.contains('.') || name.split('.').any(str::is_empty) {
        return Err(Refusal("its host must be a name with at least one dot".to_owned()));
    }
    let dotted = format!(".{name}");
    match INSIDE_NAMES.iter().find(|ending| dotted.ends_with(**ending)) {
        Some(ending) => Err(Refusal(format!("names that end in {ending} are not allowed"))),
        None => Ok(()),
    }
}
