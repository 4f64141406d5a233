//! Secrets: values that print nothing, compare in constant time and are wiped when dropped.

use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret text. It cannot be printed, written to a log or serialised; whoever needs the value
/// says so by calling [`Self::expose`].
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when there is nothing in it. An empty secret protects nothing and is refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Full-length comparison in constant time.
    pub fn is(&self, candidate: &str) -> bool {
        same(self.0.as_bytes(), candidate.as_bytes())
    }
}

/// Full-length comparison in constant time; different lengths differ at once.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_shows_its_value() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)).matches("hunter2").count(), 0);
        assert_eq!(secret.expose(), "hunter2");
        let read: Secret = serde_json::from_str(r#""hunter2""#).unwrap();
        assert_eq!(read.expose(), "hunter2");
        let wrong = serde_json::from_str::<Secret>("12345").unwrap_err().to_string();
        assert!(wrong.contains("string"), "{wrong}");
    }

    #[test]
    fn it_compares_in_full() {
        let secret = Secret::new("hunter2");
        for (candidate, equal) in
            [("hunter2", true), ("hunter", false), ("hunter22", false), ("Hunter2", false), ("", false)]
        {
            assert_eq!(secret.is(candidate), equal, "{candidate:?}");
        }
        assert!(same(b"", b""));
        assert!(!secret.is_empty());
        assert!(Secret::default().is_empty());
    }
}
