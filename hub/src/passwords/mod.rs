//! Passwords: argon2id behind a gate, so that logins are neither a memory bomb nor a processor bomb
//! (`security` P1, P2), and the same work for unknown names (`security` P4).

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use loket_backbone::random;
use loket_backbone::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::HubError;

/// The fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// The most characters of a password; it is never cut.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// How many may wait for their turn; the next one is sent away.
const WAITING_MAX: usize = 64;
/// What no password may hold, whatever surrounds it; the operator adds words of their own.
const OWN_NAMES: &[&str] = &["loket", "password", "wachtwoord"];

/// The fewest different characters of a password.
const DISTINCT_CHARS_MIN: usize = 5;
/// The shortest word that an operator may refuse.
const REFUSED_CHARS_MIN: usize = 3;

/// How much work a password costs. Values below the least are refused at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordSettings {
    /// Memory of one hash in KiB, at least 19,456.
    pub memory_kib: u32,
    /// How often the memory is gone through, at least 2.
    pub passes: u32,
    /// Words that no password may hold, such as the name of the organisation; compared without case.
    pub refused: Vec<String>,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, refused: Vec::new() }
    }
}

/// What a check of a password said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// It is not the password, or there is no such login.
    Wrong,
    /// It is.
    Right,
    /// It is, and its hash should be made anew with today's settings.
    RightButOld,
}

/// The one place where passwords are hashed.
pub(crate) struct Passwords {
    argon: Argon2<'static>,
    turns: Arc<Semaphore>,
    inside: AtomicUsize,
    inside_max: usize,
    /// A hash of nothing that anybody knows, to be checked for unknown logins.
    dummy: String,
    /// In lower case.
    refused: Vec<String>,
    /// How often anything was hashed, so that tests see the same work done for everybody.
    #[cfg(test)]
    pub(crate) hashed: AtomicUsize,
}

impl Passwords {
    /// Ready to hash with `settings`.
    pub(crate) fn new(settings: &PasswordSettings) -> Result<Self, HubError> {
        let least = PasswordSettings::default();
        if settings.memory_kib < least.memory_kib || settings.passes < least.passes {
            return Err(HubError::invalid(
                "passwords",
                "memory_kib must be at least 19456 and passes at least 2",
            ));
        }
        if settings.refused.iter().any(|word| word.trim().chars().count() < REFUSED_CHARS_MIN) {
            return Err(HubError::invalid(
                "passwords.refused",
                "each word has at least 3 characters, or it would refuse too much",
            ));
        }
        let params = Params::new(settings.memory_kib, settings.passes, 1, None)
            .map_err(|error| HubError::invalid("passwords", error.to_string()))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let dummy = make(&argon, &random::hex::<16>())?;
        Ok(Self {
            argon,
            turns: Arc::new(Semaphore::new(cores)),
            inside: AtomicUsize::new(0),
            inside_max: cores + WAITING_MAX,
            dummy,
            #[cfg(test)]
            hashed: AtomicUsize::new(0),
            refused: settings.refused.iter().map(|word| word.trim().to_lowercase()).collect(),
        })
    }

    /// The hash of a new password, as a PHC string.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String, HubError> {
        let (argon, password) = (self.argon.clone(), password.clone());
        self.in_turn(move || make(&argon, password.expose())).await?
    }

    /// Is it the password of this hash? Without a hash the same work is done for nothing.
    pub(crate) async fn check(&self, password: &Secret, hash: Option<&str>) -> Result<Checked, HubError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.dummy).to_owned();
        let (argon, password) = (self.argon.clone(), password.clone());
        let checked = self.in_turn(move || check(&argon, password.expose(), &hash)).await?;
        Ok(if known { checked } else { Checked::Wrong })
    }

    /// May somebody with this login choose this password? No rules about what it is made of, only about
    /// what everybody tries first (`security` P5).
    pub(crate) fn acceptable(&self, password: &str, login: &str) -> Result<(), HubError> {
        let refuse = |sentence: &str| Err(HubError::invalid("new_password", sentence));
        let chars = password.chars().count();
        if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
            return refuse("a password has 12 to 128 characters");
        }
        let lower = password.to_lowercase();
        let own = OWN_NAMES.iter().copied().chain(self.refused.iter().map(String::as_str));
        if own.chain([login.to_lowercase().as_str()]).any(|name| lower.contains(name)) {
            return refuse(
                "a password must not contain the login name, nor the name of the product or the organisation",
            );
        }
        let mut distinct: Vec<char> = lower.chars().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < DISTINCT_CHARS_MIN || common::is_common(password) {
            return refuse("this password is among the first that everybody tries; choose another");
        }
        Ok(())
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HubError> {
        let busy = || HubError::Unavailable("too many people log in at once; again in a moment".to_owned());
        let _place = Place::take(&self.inside, self.inside_max).ok_or_else(busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        #[cfg(test)]
        self.hashed.fetch_add(1, Ordering::SeqCst);
        tokio::task::spawn_blocking(move || {
            // Held by the work itself: somebody who hangs up does not free a core that is still busy.
            let _turn = turn;
            work()
        })
        .await
        .map_err(|error| HubError::Internal(format!("hashing a password ended early: {error}")))
    }
}

struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(inside: &'a AtomicUsize, most: usize) -> Option<Self> {
        let before = inside.fetch_add(1, Ordering::SeqCst);
        let place = Self(inside);
        (before < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn make(argon: &Argon2<'_>, password: &str) -> Result<String, HubError> {
    let hash: PasswordHash = argon
        .hash_password_with_salt(password.as_bytes(), &random::bytes::<16>())
        .map_err(|error| HubError::Internal(format!("a password could not be hashed: {error}")))?;
    Ok(hash.to_string())
}

fn check(argon: &Argon2<'_>, password: &str, hash: &str) -> Checked {
    let Ok(parsed) = PasswordHash::new(hash) else { return Checked::Wrong };
    if argon.verify_password(password.as_bytes(), &parsed).is_err() {
        return Checked::Wrong;
    }
    let same_work = Params::try_from(&parsed).is_ok_and(|params| {
        params.m_cost() >= argon.params().m_cost() && params.t_cost() >= argon.params().t_cost()
    });
    if same_work { Checked::Right } else { Checked::RightButOld }
}

/// A new password of 130 random bits, to be read aloud and typed: groups of digits and letters that
/// cannot be mistaken for one another.
pub(crate) fn generate() -> Secret {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut text = String::with_capacity(31);
    for (at, byte) in random::bytes::<26>().into_iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            text.push('-');
        }
        let letter = ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0');
        text.push(char::from(letter));
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_told_from_another_and_unknown_logins_cost_the_same_work() {
        let passwords = Passwords::new(&PasswordSettings::default()).expect("settings");
        let secret = generate();
        let hash = passwords.hash(&secret).await.expect("hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(passwords.check(&secret, Some(&hash)).await.expect("check"), Checked::Right);
        assert_eq!(passwords.check(&generate(), Some(&hash)).await.expect("check"), Checked::Wrong);
        assert_eq!(passwords.check(&secret, None).await.expect("check"), Checked::Wrong);
        assert_eq!(passwords.check(&secret, Some("rubbish")).await.expect("check"), Checked::Wrong);
        assert!(passwords.dummy.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[tokio::test]
    async fn a_hash_of_less_work_is_to_be_made_anew() {
        let weaker = Passwords::new(&PasswordSettings::default()).expect("settings");
        let stronger =
            Passwords::new(&PasswordSettings { memory_kib: 20_000, ..PasswordSettings::default() })
                .expect("settings");
        let secret = generate();
        let hash = weaker.hash(&secret).await.expect("hash");
        assert_eq!(stronger.check(&secret, Some(&hash)).await.expect("check"), Checked::RightButOld);
    }

    #[test]
    fn too_little_work_is_refused() {
        for (memory_kib, passes) in [(19_455, 2), (19_456, 1)] {
            let settings = PasswordSettings { memory_kib, passes, ..PasswordSettings::default() };
            assert!(Passwords::new(&settings).is_err());
        }
    }

    #[tokio::test]
    async fn who_finds_the_waiting_room_full_is_sent_away() {
        let passwords = Passwords::new(&PasswordSettings::default()).expect("settings");
        passwords.inside.store(passwords.inside_max, Ordering::SeqCst);
        let answer = passwords.check(&generate(), None).await;
        assert!(matches!(answer, Err(HubError::Unavailable(_))), "{answer:?}");
        assert_eq!(passwords.inside.load(Ordering::SeqCst), passwords.inside_max);
    }

    #[test]
    fn what_everybody_tries_is_refused() {
        let settings =
            PasswordSettings { refused: vec!["Fietsenmaker".into()], ..PasswordSettings::default() };
        let passwords = Passwords::new(&settings).expect("settings");
        for bad in [
            "short",
            "aaaaaaaaaaaaaa",
            "LoketLoket12",
            "anna.de.vries1",
            &"x1y2z".repeat(26),
            "FinalFantasy",
            "Qwerty123456",
            "op de fietsenMaker",
        ] {
            assert!(passwords.acceptable(bad, "anna.de.vries").is_err(), "{bad}");
        }
        assert!(passwords.acceptable("vier paarse fietsen", "anna").is_ok());
        assert!(passwords.acceptable(generate().expose(), "anna").is_ok());
    }

    #[test]
    fn a_refused_word_that_would_refuse_everything_is_refused_itself() {
        for word in ["", " ab "] {
            let settings = PasswordSettings { refused: vec![word.into()], ..PasswordSettings::default() };
            assert!(Passwords::new(&settings).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_generated_password_is_readable_and_never_the_same() {
        let (one, two) = (generate(), generate());
        assert_eq!(one.expose().len(), 31);
        assert!(!one.is(two.expose()));
    }
}
