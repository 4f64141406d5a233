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
