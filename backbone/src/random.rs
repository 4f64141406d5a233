//! Randomness: the system's source, and only here (`security` S5).

use std::fmt::Write as _;

/// `N` random bytes from the system. A system without randomness cannot run anything safely, so
/// that case ends the process instead of returning something guessable.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        tracing::error!("the system gives no random bytes; stopping");
        std::process::abort();
    }
    bytes
}

/// `N` random bytes as lower-case hexadecimal.
pub fn hex<const N: usize>() -> String {
    let mut text = String::with_capacity(N * 2);
    for byte in bytes::<N>() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Full jitter: a whole number of milliseconds from 0 to `most`, both included
/// (`reliability-contract` §7).
pub fn jitter_ms(most: u64) -> u64 {
    u64::from_be_bytes(bytes()) % most.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bytes_differ_every_time() {
        let seen: HashSet<[u8; 16]> = (0..1000).map(|_| bytes()).collect();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn hex_is_two_lower_case_digits_a_byte() {
        let text = hex::<20>();
        assert_eq!(text.len(), 40);
        assert!(text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{text}");
    }

    #[test]
    fn jitter_reaches_both_ends_and_nothing_beyond() {
        let seen: HashSet<u64> = (0..1000).map(|_| jitter_ms(3)).collect();
        assert_eq!(seen, HashSet::from([0, 1, 2, 3]));
        assert_eq!(jitter_ms(0), 0);
        // The largest range must not overflow to nothing.
        assert!((0..100).any(|_| jitter_ms(u64::MAX) > u64::from(u32::MAX)));
    }
}
