//! Wall-clock moments: UTC, milliseconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment in UTC with a precision of one millisecond. In JSON it is RFC 3339 with three decimals
/// (`outgoing-webhooks` §3); in the store it is a number of milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Not a moment: the text was not RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTimestamp;

impl fmt::Display for BadTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time in RFC 3339, such as 2026-11-21T09:30:00.000Z")
    }
}

impl std::error::Error for BadTimestamp {}

/// The last moment that can be written with four digits for the year.
const MILLIS_MAX: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The moment `millis` after 1970. Values outside the years 1970 to 9999 are clamped, so that
    /// every value can be written.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, MILLIS_MAX))
    }

    /// Milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// A provider's number: seconds when it is below 10^11, otherwise milliseconds
    /// (`whatsapp` §15.3, `messenger` §4). `None` for zero, negative and absurd values.
    pub fn from_provider(number: i64) -> Option<Self> {
        let millis = if number < 100_000_000_000 { number.checked_mul(1000)? } else { number };
        (millis > 0 && millis <= MILLIS_MAX).then_some(Self(millis))
    }

    /// This moment moved by `millis` (which may be negative), clamped like [`Self::from_millis`].
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000Z"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| BadTimestamp)?;
        Ok(Self::from_millis(moment.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_with_three_decimals_and_read_back() {
        let moment = Timestamp::from_millis(1_795_253_400_000);
        assert_eq!(moment.to_string(), "2026-11-21T09:30:00.000Z");
        assert_eq!("2026-11-21T09:30:00.000Z".parse(), Ok(moment));
        assert_eq!("2026-11-21T10:30:00+01:00".parse(), Ok(moment));
        assert_eq!("yesterday".parse::<Timestamp>(), Err(BadTimestamp));
    }

    #[test]
    fn a_provider_number_is_seconds_or_milliseconds_by_its_size() {
        let moment = Timestamp::from_millis(1_795_253_400_000);
        assert_eq!(Timestamp::from_provider(1_795_253_400), Some(moment));
        assert_eq!(Timestamp::from_provider(1_795_253_400_000), Some(moment));
        for nonsense in [0, -5, i64::MAX, i64::MIN] {
            assert_eq!(Timestamp::from_provider(nonsense), None, "{nonsense}");
        }
    }
}
