//! Where the broker is: the URL, taken apart, without ever showing its password.

use std::fmt;
use std::path::Path;

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::bus::BusError;

/// What all names on the broker begin with, unless the URL says otherwise.
const PREFIX: &str = "loket";
/// The longest prefix that keeps names short enough for AMQP's 255 bytes.
const PREFIX_CHARS_MAX: usize = 40;
/// Heartbeats in seconds (`reliability-contract` §12).
const HEARTBEAT_S: u16 = 10;

/// A broker, a user and a place there.
pub(super) struct Address {
    pub(super) uri: AMQPUri,
    /// What all names begin with.
    pub(super) prefix: String,
    /// Certificates in PEM that are trusted beside the public ones.
    pub(super) authorities: Option<String>,
}

impl Address {
    /// Reads `amqp://USER:PASSWORD@HOST:PORT/VHOST?prefix=NAME&cacertfile=PATH`; the query may be
    /// left away.
    pub(super) fn read(url: &str) -> Result<Self, BusError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        // The words of the parser may quote the URL, and with it the password.
        let mut uri: AMQPUri = place.parse().map_err(|_| {
            BusError::Refused(
                "bus.url cannot be read; write amqp://USER:PASSWORD@HOST:PORT/VHOST, with %2f for the \
                 vhost /, and with %XX for any of @ : / in the password"
                    .to_owned(),
            )
        })?;
        uri.query.heartbeat = Some(HEARTBEAT_S);
        let mut address = Self { uri, prefix: PREFIX.to_owned(), authorities: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("prefix", prefix)) => address.prefix = checked(prefix)?,
                Some(("cacertfile", path)) => address.authorities = Some(authorities(Path::new(path))?),
                _ => {
                    let name = pair.split('=').next().unwrap_or_default();
                    return Err(BusError::Refused(format!(
                        "bus.url asks for {name:?}, and what may stand behind its ? is prefix=NAME and \
                         cacertfile=PATH"
                    )));
                }
            }
        }
        Ok(address)
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

/// Without user and password, for words and logs.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authority, vhost) = (&self.uri.authority, &self.uri.vhost);
        write!(f, "{}:{} (vhost {vhost:?})", authority.host, authority.port)
    }
}

fn checked(prefix: &str) -> Result<String, BusError> {
    let plain = prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if prefix.is_empty() || prefix.len() > PREFIX_CHARS_MAX || !plain {
        return Err(BusError::Refused(format!(
            "bus.url has a prefix that is not 1 to {PREFIX_CHARS_MAX} characters of a-z, 0-9 and -"
        )));
    }
    Ok(prefix.to_owned())
}

fn authorities(path: &Path) -> Result<String, BusError> {
    std::fs::read_to_string(path).map_err(|error| {
        BusError::Refused(format!("bus.url: the cacertfile {} cannot be read: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let address = Address::read("amqp://loket:s%40crt@broker:5673/%2fchat?prefix=trial-7").unwrap();
        assert_eq!(address.uri.authority.userinfo.password, "s@crt");
        assert_eq!((address.prefix.as_str(), address.is_encrypted()), ("trial-7", false));
        assert_eq!(address.to_string(), "broker:5673 (vhost \"/chat\")");
        assert_eq!(address.uri.query.heartbeat, Some(10));

        let address = Address::read("amqps://broker").unwrap();
        assert_eq!((address.prefix.as_str(), address.is_encrypted()), ("loket", true));
        assert_eq!(address.to_string(), "broker:5671 (vhost \"/\")");
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_the_password() {
        for (url, sentence) in [
            ("amqp://u:hunter2@host:many", "write amqp://USER:PASSWORD@HOST:PORT/VHOST"),
            ("amqp://u:hunter2@host?prefix=", "a prefix that is not"),
            ("amqp://u:hunter2@host?prefix=Has.Dots", "a prefix that is not"),
            ("amqp://u:hunter2@host?password=hunter2", "asks for \"password\""),
            ("amqps://u:hunter2@host?cacertfile=/does/not/exist.pem", "/does/not/exist.pem cannot be read"),
        ] {
            let Err(refused) = Address::read(url) else { panic!("{url} is not refused") };
            let said = refused.to_string();
            assert!(matches!(refused, BusError::Refused(_)), "{url}: {said}");
            assert!(said.contains(sentence), "{url}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
