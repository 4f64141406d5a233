//! What WhatsApp and Messenger share: signature, handshake, reading of bodies, Graph client.

mod graph;
mod json;
mod read;
#[cfg(test)]
pub(crate) mod scripted;
mod secrets;

use hmac::{Hmac, KeyInit as _, Mac as _};
use loket_backbone::secret::Secret;
use loket_protocol::problem::RawPiece;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::channel::Rejected;

pub use graph::{ANSWER_BYTES_MAX, Graph, GraphError, GraphFailure, GraphSettings};
pub use json::{DEPTH_MAX, parse};
pub use read::{EXTERNAL_ID_BYTES_MAX, field, flag, id, list, number, sha256, text, text_or_number, time};
pub use secrets::AppSecrets;

/// What stands before the digits in `X-Hub-Signature-256`.
const SIGNATURE_PREFIX: &str = "sha256=";
/// How many keys of an envelope are looked at. The platform's have a handful.
const ENVELOPE_KEYS_MAX: usize = 64;
/// The longest challenge that is echoed (`security` H5).
const CHALLENGE_CHARS_MAX: usize = 128;

/// Which of `secrets` signed the body (`whatsapp` §3, `security` H1 to H3): the position of the
/// first one that did. Exactly one header value is taken, `sha256=` and 64 lower-case hexadecimal
/// digits, over the raw bytes, compared in full length and constant time. An empty secret signs
/// nothing.
pub fn verify_signature(secrets: &[Secret], signatures: &[String], body: &[u8]) -> Result<usize, Rejected> {
    let [signature] = signatures else { return Err(Rejected::Signature) };
    let claimed = signature.strip_prefix(SIGNATURE_PREFIX).and_then(digest).ok_or(Rejected::Signature)?;
    secrets
        .iter()
        .position(|secret| !secret.is_empty() && is_signed_by(secret, &claimed, body))
        .ok_or(Rejected::Signature)
}

fn is_signed_by(secret: &Secret, claimed: &[u8; 32], body: &[u8]) -> bool {
    // HMAC takes a key of any length, so the error cannot come up.
    Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .is_ok_and(|mac| mac.chain_update(body).verify_slice(claimed).is_ok())
}

/// The bytes of exactly 64 lower-case hexadecimal digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The challenge to echo when the provider checks the address (`whatsapp` §2, `security` H5).
/// A challenge that could be markup is refused before anything is compared.
pub fn handshake(
    verify_token: &Secret,
    mode: &str,
    token: &str,
    challenge: &str,
) -> Result<String, Rejected> {
    if mode != "subscribe" {
        return Err(Rejected::Handshake("hub.mode is not subscribe".to_owned()));
    }
    let is_plain = challenge.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if challenge.is_empty() || challenge.len() > CHALLENGE_CHARS_MAX || !is_plain {
        return Err(Rejected::Handshake(
            "hub.challenge is not 1 to 128 of A-Z, a-z, 0-9, _ and -".to_owned(),
        ));
    }
    if verify_token.is_empty() || !verify_token.is(token) {
        return Err(Rejected::VerifyToken);
    }
    Ok(challenge.to_owned())
}

/// A whole callback body with one item in it, so that a parked item can be read alone, today or by
/// a later version. Keeps the scalar keys of `root` (such as `object`) and of `entry` (`id`, `time`)
/// and puts `item` alone into the entry's array `array`.
pub fn one_item_body(root: &Value, entry: &Value, array: &str, item: Value) -> Value {
    let mut entry = scalars(entry);
    entry.insert(array.to_owned(), Value::Array(vec![item]));
    let mut body = scalars(root);
    body.insert("entry".to_owned(), Value::Array(vec![Value::Object(entry)]));
    Value::Object(body)
}

/// What an envelope says by itself: the keys whose values are neither objects nor arrays nor long
/// texts, of the first 64; empty for anything that is no object. It is copied
/// once for each parked item, so it has to stay small whatever stands in it.
pub fn scalars(value: &Value) -> Map<String, Value> {
    let is_long = |value: &Value| value.as_str().is_some_and(|text| text.len() > EXTERNAL_ID_BYTES_MAX);
    let keys = value.as_object().into_iter().flatten().take(ENVELOPE_KEYS_MAX);
    keys.filter(|(key, value)| {
        !value.is_object() && !value.is_array() && !is_long(value) && key.len() <= EXTERNAL_ID_BYTES_MAX
    })
    .map(|(key, value)| (key.clone(), value.clone()))
    .collect()
}

/// The body in pieces as [`loket_protocol::problem::Problem`] wants them: one problem per piece.
pub fn raw_pieces(body: &Value) -> Vec<RawPiece> {
    RawPiece::cut(body.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Vec<Secret> {
        values.iter().copied().map(Secret::new).collect()
    }

    fn verdict(header: &str, body: &str) -> Result<usize, Rejected> {
        verify_signature(&secrets(&["loket-test-secret"]), &[header.to_owned()], body.as_bytes())
    }

    const EMPTY_ENTRY: &str = r#"{"object":"whatsapp_business_account","entry":[]}"#;
    const EMPTY_ENTRY_SIGNATURE: &str =
        "sha256=5c330c5ca4cd277346d6f5f450f8ec02cd0203c266d07d2a681abe2fe18c14ea";

    #[test]
    fn only_the_bytes_that_arrived_verify() {
        let vectors = [
            (EMPTY_ENTRY, EMPTY_ENTRY_SIGNATURE),
            (
                r#"{"object": "whatsapp_business_account", "entry": []}"#,
                "sha256=6bd3360db68e514ed045645042dc1503a7d8f1962bf7cf2bfbb28599fbda8b3b",
            ),
            (
                r#"{"t":"\u00e4\u00f6\u00e5 \ud83d\ude00","u":"https:\/\/example.org\/a"}"#,
                "sha256=82a37a3b1f2af9521a27d0e803e321e1dbd1bc80c1ffde29844df43ea49b2d07",
            ),
            (
                r#"{"t":"äöå 😀","u":"https://example.org/a"}"#,
                "sha256=cce947a8098cd0fbd05d6d9c1df6b42a7bbc2838fe03f6a4b801e67f4ef4b637",
            ),
            ("", "sha256=71ce46d93f9aa5832a885dd158be087aa17a0b35a8100779adae93c82f37bb3a"),
        ];
        for (body, signature) in vectors {
            for (other, _) in vectors {
                let expected = if other == body { Ok(0) } else { Err(Rejected::Signature) };
                assert_eq!(verdict(signature, other), expected, "{signature} over {other}");
            }
        }
    }

    #[test]
    fn every_misshapen_header_is_refused() {
        let digits = EMPTY_ENTRY_SIGNATURE.trim_start_matches("sha256=");
        let upper = digits.to_uppercase();
        let bad = [
            String::new(),
            "sha256=".to_owned(),
            digits.to_owned(),
            format!("sha1={digits}"),
            format!("SHA256={digits}"),
            format!("sha256={upper}"),
            format!("sha256= {digits}"),
            format!(" sha256={digits}"),
            format!("sha256={digits} "),
            format!("sha256={digits}\n"),
            format!("sha256={}", &digits[..63]),
            format!("sha256={}", &digits[..62]),
            format!("sha256={digits}0"),
            format!("sha256={digits}00"),
            format!("sha256={digits},sha256={digits}"),
            format!("sha256={}g", &digits[..63]),
            format!("sha256={}é", &digits[..62]),
            format!("sha256={}", "0".repeat(64)),
        ];
        for header in bad {
            assert_eq!(verdict(&header, EMPTY_ENTRY), Err(Rejected::Signature), "{header:?}");
        }
        for at in 0..64 {
            let mut changed = digits.as_bytes().to_vec();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let header = format!("sha256={}", String::from_utf8(changed).unwrap());
            assert_eq!(verdict(&header, EMPTY_ENTRY), Err(Rejected::Signature), "{header:?}");
        }
    }

    #[test]
    fn no_header_or_two_is_refused() {
        let one = EMPTY_ENTRY_SIGNATURE.to_owned();
        let keys = secrets(&["loket-test-secret"]);
        let body = EMPTY_ENTRY.as_bytes();
        assert_eq!(verify_signature(&keys, &[], body), Err(Rejected::Signature));
        assert_eq!(verify_signature(&keys, &[one.clone(), one], body), Err(Rejected::Signature));
    }

    #[test]
    fn each_of_several_secrets_counts_and_an_empty_one_never() {
        let one = [EMPTY_ENTRY_SIGNATURE.to_owned()];
        let body = EMPTY_ENTRY.as_bytes();
        assert_eq!(verify_signature(&secrets(&["new", "loket-test-secret"]), &one, body), Ok(1));
        assert_eq!(verify_signature(&secrets(&["new"]), &one, body), Err(Rejected::Signature));
        assert_eq!(verify_signature(&[], &one, body), Err(Rejected::Signature));
        let signed_with_nothing =
            ["sha256=".to_owned() + "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"];
        assert_eq!(verify_signature(&secrets(&[""]), &signed_with_nothing, b""), Err(Rejected::Signature));
    }

    #[test]
    fn the_handshake_echoes_only_what_is_no_markup() {
        let token = Secret::new("let me in");
        let shake = |mode: &str, given: &str, challenge: &str| handshake(&token, mode, given, challenge);
        assert_eq!(shake("subscribe", "let me in", "1158201444"), Ok("1158201444".to_owned()));
        assert_eq!(shake("subscribe", "let me in", "aZ09_-"), Ok("aZ09_-".to_owned()));
        assert_eq!(shake("subscribe", "let me", "1"), Err(Rejected::VerifyToken));
        assert_eq!(shake("subscribe", "", "1"), Err(Rejected::VerifyToken));
        assert_eq!(handshake(&Secret::default(), "subscribe", "", "1"), Err(Rejected::VerifyToken));
        let script = "<script>alert(1)</script>";
        for challenge in ["", script, "a b", "a\r\nb", "é", &"1".repeat(129)] {
            let verdict = shake("subscribe", "let me in", challenge);
            assert!(matches!(verdict, Err(Rejected::Handshake(_))), "{challenge:?}");
        }
        assert!(shake("subscribe", "let me in", &"1".repeat(128)).is_ok());
        for mode in ["", "unsubscribe", "Subscribe"] {
            assert!(matches!(shake(mode, "let me in", "1"), Err(Rejected::Handshake(_))), "{mode:?}");
        }
    }

    #[test]
    fn one_item_stands_alone_in_a_body_of_its_own() {
        let root = serde_json::json!({"object": "page", "entry": [1, 2]});
        let entry = serde_json::json!({"id": "7", "time": 5, "messaging": [1, 2], "standby": [3]});
        let body = one_item_body(&root, &entry, "messaging", Value::from(2));
        assert_eq!(
            body,
            serde_json::json!({"object": "page", "entry": [{"id": "7", "time": 5, "messaging": [2]}]})
        );
        let long = serde_json::json!({"id": "7", "note": "x".repeat(513)});
        assert_eq!(Value::Object(scalars(&long)), serde_json::json!({"id": "7"}));
        let junk = one_item_body(&Value::Null, &Value::from(3), "messaging", Value::from(2));
        assert_eq!(junk, serde_json::json!({"entry": [{"messaging": [2]}]}));
    }
}
