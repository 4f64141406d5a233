//! Where Redis is, read from `kv.url`. No sentence from here says the password.

use std::net::IpAddr;

use redis::{ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

use crate::kv::KvError;

/// What everything of an installation begins with when the URL does not say.
const PREFIX: &str = "loket";
/// The longest such name.
const PREFIX_CHARS_MAX: usize = 64;

/// A URL that was understood.
pub(super) struct Address {
    /// How to connect.
    pub(super) info: ConnectionInfo,
    /// Host and port, for people.
    pub(super) place: String,
    /// What every key and channel begins with: the installation's name and the number of the
    /// database, because channels know no databases.
    pub(super) prefix: String,
}

impl Address {
    /// Reads a URL such as `redis://:PASSWORD@HOST:PORT/DB?prefix=NAME`. Off this host it must have a
    /// password (`security` D3), and TLS or `allow_plaintext=true` (`security` S6).
    pub(super) fn parse(url: &str) -> Result<Self, KvError> {
        let mut url = redis::parse_redis_url(url)
            .ok_or_else(|| refusal("is no URL of the form redis://:PASSWORD@HOST:PORT/DB"))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if host.is_empty() {
            return Err(refusal("names no host"));
        }
        let mut prefix = PREFIX.to_owned();
        let mut allow_plaintext = false;
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), value.as_ref()) {
                ("prefix", value) if is_prefix(value) => value.clone_into(&mut prefix),
                ("prefix", _) => {
                    return Err(refusal("has a prefix that is not made of 1 to 64 letters, digits, - and _"));
                }
                ("allow_plaintext", "true") => allow_plaintext = true,
                _ => {
                    return Err(refusal(
                        "may say prefix=NAME and allow_plaintext=true after its ?, and nothing else",
                    ));
                }
            }
        }
        if url.fragment().is_some() {
            return Err(refusal("has a #, which is written %23 in a password"));
        }
        let db = url.path().trim_start_matches('/').to_owned();
        if !db.is_empty() && db.parse::<u16>().is_err() {
            return Err(refusal("has a database that is no number"));
        }
        let with_tls = url.scheme() == "rediss";
        if !is_this_host(&host) {
            if url.password().unwrap_or_default().is_empty() {
                return Err(refusal("leads to another host without a password"));
            }
            if !with_tls && !allow_plaintext {
                return Err(refusal(
                    "leads to another host without encryption: begin it with rediss://, or end it with \
                     ?allow_plaintext=true where the network between is your own",
                ));
            }
        }
        url.set_query(None);
        let info = url.into_connection_info().map_err(|_| refusal("cannot be understood"))?;
        // Replies and wake-ups then share a connection.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let prefix = format!("{prefix}:{}:", settings.db());
        let place = info.addr().to_string();
        Ok(Self { info: info.set_redis_settings(settings), place, prefix })
    }
}

fn refusal(why: &str) -> KvError {
    KvError(format!("kv.url {why}"))
}

fn is_prefix(name: &str) -> bool {
    (1..=PREFIX_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_with_what_and_for_whom() {
        for (url, place, prefix) in [
            ("redis://127.0.0.1", "127.0.0.1:6379", "loket:0:"),
            ("redis://localhost:7000/3", "localhost:7000", "loket:3:"),
            ("redis://[::1]:7000/", "::1:7000", "loket:0:"),
            ("redis://:s%23cret@10.1.2.3/0?allow_plaintext=true&prefix=shop-2", "10.1.2.3:6379", "shop-2:0:"),
            ("rediss://user:secret@redis.example.com:6380/15", "redis.example.com:6380", "loket:15:"),
        ] {
            let address = Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((address.place.as_str(), address.prefix.as_str()), (place, prefix), "{url}");
            assert_eq!(address.info.redis_settings().protocol(), ProtocolVersion::RESP3);
        }
        let address = Address::parse("redis://:s%23cret@127.0.0.1").unwrap();
        assert_eq!(address.info.redis_settings().password(), Some("s#cret"));
    }

    #[test]
    fn what_is_not_safe_or_not_understood_is_refused_and_the_password_stays_out_of_it() {
        for (url, why) in [
            ("redis:", "no host"),
            ("redis://", "no host"),
            ("redis://:hunter2@host:port", "is no URL"),
            ("redis://:hunter2@127.0.0.1/first", "no number"),
            ("redis://:hunter2@127.0.0.1/0/1", "no number"),
            ("redis://:hunter2@127.0.0.1/70000", "no number"),
            ("rediss://:hunter2@host/0#insecure", "#"),
            ("redis://:hunter2@127.0.0.1?prefix=", "prefix"),
            ("redis://:hunter2@127.0.0.1?prefix=a*b", "prefix"),
            ("redis://:hunter2@127.0.0.1?prefx=a", "nothing else"),
            ("redis://:hunter2@127.0.0.1?allow_plaintext=yes", "nothing else"),
            ("rediss://redis.example.com", "password"),
            ("redis://redis.example.com?allow_plaintext=true", "password"),
            ("redis://:hunter2@10.1.2.3", "allow_plaintext"),
            ("redis://:hunter2@localhost.example.com", "allow_plaintext"),
        ] {
            let refused = Address::parse(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(refused.contains(why), "{url}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
