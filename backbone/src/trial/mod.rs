//! What the tests of every room share and no release contains: where the real services of a test run
//! are, and a network between them that can fail. Compiled with the feature `trial`, which only
//! `[dev-dependencies]` ask for.

mod proxy;

pub use proxy::{Flow, Proxy};

/// Set to something where nothing may be skipped.
const CI: &str = "CI";

/// The URL of a throw-away service for tests, such as `service("LOKET_TEST_REDIS")`. Without one it
/// says loudly that the test is skipped and answers `None`: the caller returns.
///
/// # Panics
///
/// When there is none and `CI` is set: there nothing is skipped.
pub fn service(variable: &str) -> Option<String> {
    let url = told(variable);
    if url.is_none() {
        skip(&format!("{variable} is not set"));
    }
    url
}

/// Says loudly that a test is skipped, and why; its caller returns.
///
/// # Panics
///
/// When `CI` is set: there nothing is skipped.
#[expect(clippy::print_stderr, reason = "who runs the tests must see what was not tried")]
pub fn skip(why: &str) {
    assert!(told(CI).is_none(), "{why}, and with {CI} set nothing is skipped");
    eprintln!("SKIPPED: {why}");
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where their services are")]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_not_there_is_a_skip_and_in_ci_a_failure() {
        let asked = std::panic::catch_unwind(|| service("LOKET_TEST_NEVER_SET"));
        match told(CI) {
            Some(_) => assert!(asked.is_err()),
            None => assert_eq!(asked.ok(), Some(None)),
        }
        assert!(service("PATH").is_some_and(|path| !path.is_empty()), "what is set is handed on");
    }
}
