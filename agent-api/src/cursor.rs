//! A place in the log: a log seq, alone or with the epoch of the log it is of. A restore begins a
//! new epoch, in which the same numbers name other events.

use std::fmt;
use std::str::FromStr;

use crate::error::{Code, Problem};

/// The longest epoch that is looked at.
const EPOCH_CHARS_MAX: usize = 64;

/// Where a reader of the log is: after this number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Of which log; absent when the client kept only the number.
    pub(crate) epoch: Option<String>,
    /// The last number it has seen.
    pub(crate) seq: i64,
}

/// Not a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadCursor;

impl Cursor {
    /// A place in the log of an epoch.
    pub(crate) fn new(epoch: &str, seq: i64) -> Self {
        Self { epoch: Some(epoch.to_owned()), seq }
    }

    /// Whether it is a place in the log of this epoch that ends at `head`. A number beyond the end
    /// was given by another log.
    pub(crate) fn is_of(&self, epoch: &str, head: i64) -> bool {
        self.seq <= head && self.epoch.as_deref().is_none_or(|own| own == epoch)
    }

    /// Refuses a place in another log.
    pub(crate) fn check(&self, epoch: &str, head: i64) -> Result<(), Problem> {
        if self.is_of(epoch, head) {
            return Ok(());
        }
        let options = serde_json::json!({"head": head, "cursor": Self::new(epoch, head).to_string()});
        Err(Problem::of(Code::CursorGone).field("after").options(options))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.epoch {
            Some(epoch) => write!(f, "{epoch}:{}", self.seq),
            None => write!(f, "{}", self.seq),
        }
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (epoch, number) = match text.rsplit_once(':') {
            Some((epoch, number)) => (Some(epoch), number),
            None => (None, text),
        };
        let plain = |epoch: &str| {
            (1..=EPOCH_CHARS_MAX).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !epoch.is_none_or(plain) {
            return Err(BadCursor);
        }
        let seq = number.parse().map_err(|_| BadCursor)?;
        Ok(Self { epoch: epoch.map(str::to_owned), seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_with_and_without_its_epoch() {
        for text in ["0", "17", "e1:17", "01J:0"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        for bad in ["", "-1", "+1", ":1", "e:", "a b:1", "99999999999999999999", "1 "] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
        }
    }

    #[test]
    fn a_place_in_another_log_is_refused() {
        let at = |text: &str| text.parse::<Cursor>().unwrap();
        assert!(at("17").is_of("e", 17));
        assert!(at("e:0").is_of("e", 0));
        assert!(!at("18").is_of("e", 17));
        assert!(!at("f:3").is_of("e", 17));
        assert_eq!(at("f:3").check("e", 17).unwrap_err().code(), Code::CursorGone);
    }
}
