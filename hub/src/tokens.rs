//! Bearer tokens: of sessions (`los_…`) and API keys (`lok_…`). The store holds only their SHA-256;
//! each has 256 random bits, so a plain hash is enough (`security` P7, K1).

use std::fmt::Write as _;

use loket_backbone::random;
use loket_backbone::secret::Secret;
use loket_protocol::ids::KeyId;
use sha2::{Digest as _, Sha256};

const SESSION_PREFIX: &str = "los_";
const KEY_PREFIX: &str = "lok_";
const ID_DIGITS: usize = 26;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;

/// What a bearer token claims to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// A session's token; its hash.
    Session(String),
    /// An API key: its id and the hash of the whole.
    Key(KeyId, String),
    /// Not one of ours, or mistyped: no need to ask the store.
    Nonsense,
}

/// SHA-256 of a text, in lower-case hexadecimal.
pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The last eight digits of the SHA-256: tells a typing error from a wrong key without the store.
fn checksum(text: &str) -> String {
    sha256(text).split_off(SECRET_DIGITS - CHECKSUM_DIGITS)
}

/// A new session's token and its hash.
pub(crate) fn new_session() -> (Secret, String) {
    let token = format!("{SESSION_PREFIX}{}", random::hex::<32>());
    let hash = sha256(&token);
    (Secret::new(token), hash)
}

/// A new API key's token and its hash.
pub(crate) fn new_key(id: KeyId) -> (Secret, String) {
    let id = id.to_string();
    let digits = id.strip_prefix("key_").unwrap_or(&id);
    let body = format!("{KEY_PREFIX}{digits}{}", random::hex::<32>());
    let token = format!("{body}{}", checksum(&body));
    let hash = sha256(&token);
    (Secret::new(token), hash)
}

/// What `text` claims to be. Nothing is looked up for something that cannot be a token.
pub(crate) fn read(text: &str) -> Bearer {
    if let Some(rest) = text.strip_prefix(SESSION_PREFIX) {
        let fits = rest.len() == SECRET_DIGITS && rest.bytes().all(|b| b.is_ascii_hexdigit());
        return if fits { Bearer::Session(sha256(text)) } else { Bearer::Nonsense };
    }
    read_key(text).unwrap_or(Bearer::Nonsense)
}

fn read_key(text: &str) -> Option<Bearer> {
    let rest = text.strip_prefix(KEY_PREFIX)?;
    if rest.len() != ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS || !rest.is_ascii() {
        return None;
    }
    let (body, told) = text.split_at(text.len() - CHECKSUM_DIGITS);
    if checksum(body) != told {
        return None;
    }
    let (digits, _) = rest.split_at(ID_DIGITS);
    let id = format!("key_{digits}").parse().ok()?;
    Some(Bearer::Key(id, sha256(text)))
}

#[cfg(test)]
mod tests {
    use loket_protocol::ids::Id as _;
    use loket_protocol::time::Timestamp;

    use super::*;

    #[test]
    fn a_session_token_is_read_back() {
        let (token, hash) = new_session();
        assert_eq!(read(token.expose()), Bearer::Session(hash));
    }

    #[test]
    fn a_key_is_read_back_and_names_its_row() {
        let id = KeyId::mint(Timestamp::from_millis(9), [1; 10]);
        let (token, hash) = new_key(id);
        assert_eq!(read(token.expose()), Bearer::Key(id, hash));
    }

    #[test]
    fn a_mistyped_key_is_told_apart_without_the_store() {
        let (token, _) = new_key(KeyId::mint(Timestamp::from_millis(9), [1; 10]));
        let text = token.expose();
        for at in [4, 20, 40, text.len() - 1] {
            let mut wrong: Vec<u8> = text.bytes().collect();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert_eq!(read(&wrong), Bearer::Nonsense, "digit {at}");
        }
    }

    #[test]
    fn everything_else_is_nonsense() {
        let long = format!("los_{}", "é".repeat(32));
        for text in ["", "null", "los_", "lok_", "Bearer x", &long, &format!("los_{}", "g".repeat(64))] {
            assert_eq!(read(text), Bearer::Nonsense, "{text}");
        }
    }
}
