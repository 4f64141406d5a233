//! Reading keys whose type the providers do not keep to: ids come as numbers, times as text, and
//! null, missing and empty are the same (`whatsapp` §15.3, §15.5).

use std::fmt::Write as _;

use base64::Engine as _;
use loket_protocol::time::Timestamp;
use serde_json::Value;

/// The longest provider id that is taken as one, in bytes (`whatsapp` §1).
pub const EXTERNAL_ID_BYTES_MAX: usize = 512;

/// The value of a key; `None` when it is missing, null or an empty string, or `value` is no object.
pub fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|found| !found.is_null() && found.as_str() != Some(""))
}

/// A text, code point for code point.
pub fn text(value: &Value, key: &str) -> Option<String> {
    field(value, key)?.as_str().map(str::to_owned)
}

/// A text, or a number as it stands.
pub fn text_or_number(value: &Value, key: &str) -> Option<String> {
    as_text(field(value, key)?)
}

/// An id: a text or a number of at most [`EXTERNAL_ID_BYTES_MAX`] bytes.
pub fn id(value: &Value, key: &str) -> Option<String> {
    text_or_number(value, key).filter(|id| id.len() <= EXTERNAL_ID_BYTES_MAX)
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, or the digits of one.
pub fn number(value: &Value, key: &str) -> Option<i64> {
    let found = field(value, key)?;
    found.as_i64().or_else(|| found.as_str()?.parse().ok())
}

/// True or false; nothing else is taken for either.
pub fn flag(value: &Value, key: &str) -> Option<bool> {
    field(value, key)?.as_bool()
}

/// The items of an array; none when there is no array.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A provider's time: number or text, seconds or (from 10^11) milliseconds. `None` for nonsense.
pub fn time(value: &Value, key: &str) -> Option<Timestamp> {
    Timestamp::from_provider(number(value, key)?)
}

/// A SHA-256 given as base64 (44 characters) or hexadecimal (64), as 64 lower-case hexadecimal
/// digits; `None` when it is neither (`whatsapp` §7).
pub fn sha256(value: &Value, key: &str) -> Option<String> {
    let given = field(value, key)?.as_str()?;
    if given.len() == 64 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(given.to_ascii_lowercase());
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(given).ok()?;
    (bytes.len() == 32).then(|| {
        bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_missing_and_empty_are_the_same() {
        let value = json!({"null": null, "empty": "", "text": "x", "number": 12, "list": [1]});
        for key in ["null", "empty", "missing"] {
            assert_eq!(field(&value, key), None, "{key}");
            assert_eq!(text_or_number(&value, key), None, "{key}");
        }
        assert_eq!(text(&value, "text").as_deref(), Some("x"));
        assert_eq!(text(&value, "number"), None);
        assert_eq!(id(&value, "number").as_deref(), Some("12"));
        assert_eq!(id(&value, "list"), None);
        assert_eq!(list(&value, "list").len(), 1);
        assert_eq!(list(&value, "text").len(), 0);
        assert_eq!(field(&json!(5), "text"), None);
        assert_eq!(id(&json!({"a": "x".repeat(513)}), "a"), None);
        assert_eq!(id(&json!({"a": "x".repeat(512)}), "a").map(|id| id.len()), Some(512));
    }

    #[test]
    fn times_are_numbers_or_text() {
        let moment = Some(Timestamp::from_millis(1_795_253_400_000));
        for given in [json!(1_795_253_400), json!("1795253400"), json!(1_795_253_400_000_i64)] {
            assert_eq!(time(&json!({ "t": given }), "t"), moment, "{given}");
        }
        for nonsense in [json!("soon"), json!(-4), json!(true), json!(1.5), json!("9223372036854775808")] {
            assert_eq!(time(&json!({ "t": nonsense }), "t"), None, "{nonsense}");
        }
    }

    #[test]
    fn both_spellings_of_a_hash_are_one() {
        let hex = "815d1298499bf16727136f14dfaee10e9bdd105c55c6dffc8f73fd1393c544cc";
        let spellings = json!({
            "base64": "gV0SmEmb8WcnE28U367hDpvdEFxVxt/8j3P9E5PFRMw=",
            "upper": hex.to_uppercase(),
            "short": "gV0S",
        });
        assert_eq!(sha256(&spellings, "base64").as_deref(), Some(hex));
        assert_eq!(sha256(&spellings, "upper").as_deref(), Some(hex));
        assert_eq!(sha256(&spellings, "short"), None);
    }
}
