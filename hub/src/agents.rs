//! Agents and how they come in: passwords, sessions, limits of guessing (`security` §1).

use std::net::IpAddr;

use loket_backbone::random;
use loket_backbone::secret::Secret;
use loket_protocol::agent::{Agent, Role};
use loket_protocol::event::LiveSignal;
use loket_protocol::ids::{AgentId, SessionId};
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::idempotency::Begun;
use crate::passwords::{self, Checked};
use crate::requests::{Idempotency, NewAgent, PAGE_MAX, Page, Principal, PrincipalBy, Written};
use crate::store::audit::{self, Deed, OPERATOR};
use crate::store::{StoreError, Tx, agents, keys, locks, sessions};
use crate::tokens::{self, Bearer};
use crate::{Hub, HubError};

/// How old a login may be for rare and weighty acts (`security` P10).
const FRESH_MS: i64 = 10 * 60_000;
/// A session that is not used so long is over.
const IDLE_MS: i64 = 12 * 3_600_000;
/// A session is over after so long, however much it is used.
const SESSION_MS: i64 = 7 * 24 * 3_600_000;
/// The time of the last use is exact to this.
const USED_GRAIN_MS: i64 = 60_000;
/// The window of the limits of guessing, as long as it has not been used up (`security` P3).
const GUESS_WINDOW_MS: i64 = 60_000;
/// The longest that the window grows: it doubles each time that it was used up.
const GUESS_WINDOW_MS_MAX: i64 = 15 * 60_000;
/// After so long without a wrong guess all is forgotten.
const GUESS_MEMORY_MS: i64 = 60 * 60_000;
/// Tries per login and window.
const GUESSES_PER_LOGIN: i64 = 5;
/// Tries per address and window.
const GUESSES_PER_ADDRESS: i64 = 20;
/// How long an address is remembered from which somebody logged in well. Such an address is counted
/// by itself for that login, so that strangers elsewhere lock nobody out.
const KNOWN_MS: i64 = 30 * 24 * 3_600_000;
/// A key that was not used so long is disabled (`security` K3).
const KEY_UNUSED_MS: i64 = 90 * 24 * 3_600_000;

/// A new agent, with the password that is shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedAgent {
    /// The agent.
    pub agent: Agent,
    /// Their first password: 130 random bits in readable groups. It is stored nowhere.
    pub password: String,
}

/// A session that has begun.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// Who.
    pub agent: Agent,
    /// Their session.
    pub session: SessionId,
    /// Its bearer token, told once.
    pub token: Secret,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

/// A login as it is compared: without case.
fn login_of(text: &str) -> Result<String, HubError> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".@_+-".contains(&b));
    if fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(HubError::invalid("login", "1 to 64 of letters, digits and .@_+-"))
    }
}

/// A name that people see.
pub(crate) fn shown_name(text: &str) -> Result<String, HubError> {
    let name = text.trim();
    if (1..=80).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(HubError::invalid("name", "1 to 80 characters"))
    }
}

/// The window in which `most` tries are let through, for one who has tried so often, this time
/// included: a minute, until it was used up twice, and then twice as long each time.
fn guess_window_ms(tries: i64, most: i64) -> i64 {
    let used_up = (tries - 1).max(0) / most.max(1);
    let doublings = u32::try_from((used_up - 1).clamp(0, 16)).unwrap_or(16);
    GUESS_WINDOW_MS.saturating_mul(1 << doublings).min(GUESS_WINDOW_MS_MAX)
}

/// The row that says that somebody logged in well from an address.
fn known_key(login: &str, address: &str) -> String {
    format!("known:{login}|{address}")
}

/// Addresses of one household or site count together: IPv6 by its /64 (`security` §12).
fn address_key(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("address:{v4}"),
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return format!("address:{v4}");
            }
            let [a, b, c, d, ..] = v6.segments();
            format!("address:{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

impl Hub {
    /// Makes an agent with a generated password, which is told once. `by` is absent on the command
    /// line, where the first admin is made.
    pub async fn create_agent(
        &self,
        by: Option<&Principal>,
        new: NewAgent,
        idem: Option<Idempotency>,
    ) -> Result<Written<CreatedAgent>, HubError> {
        if !matches!(new.role, Role::Admin | Role::Lead | Role::Agent) {
            return Err(HubError::invalid("role", "a person is admin, lead or agent; programs get a key"));
        }
        let (login, name) = (login_of(&new.login)?, shown_name(&new.name)?);
        let password = passwords::generate();
        // Hashing is slow: not inside the transaction.
        let hash = self.inner().passwords.hash(&password).await?;
        let mut tx = self.inner().store.begin().await?;
        let maker = by.map_or_else(|| OPERATOR.to_owned(), Principal::id);
        let once = match self.begin_once(&mut tx, &maker, idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let agent = Agent { id: tx.id(), login, name, role: new.role, created_at: tx.now() };
        if !agents::make(&mut tx, &agent, &hash).await? {
            return Err(HubError::Conflict("this login is somebody's already".to_owned()));
        }
        note(&mut tx, by, "agent.created", &agent.id.to_string()).await?;
        let created = CreatedAgent { agent, password: password.expose().to_owned() };
        self.done(&mut tx, once, &created).await?;
        tx.commit().await?;
        Ok(Written::Done(created))
    }

    /// Agents who may log in, by id, a page of at most [`PAGE_MAX`].
    pub async fn agents(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Agent>, HubError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut reader = self.inner().store.read().await?;
        let found = agents::list(&mut reader, cursor.unwrap_or_default(), limit + 1).await?;
        let items = found.into_iter().map(|row| row.agent).collect();
        Ok(page(items, limit, |agent: &Agent| agent.id.to_string()))
    }

    /// An agent, disabled or not.
    pub async fn agent(&self, id: AgentId) -> Result<Agent, HubError> {
        let mut reader = self.inner().store.read().await?;
        let row = agents::by_id(&mut reader, id).await?.ok_or(HubError::NotFound("agent"))?;
        Ok(row.agent)
    }

    /// Disables an agent: their sessions and sockets end, and so do the keys that they made. The last
    /// admin cannot be disabled.
    pub async fn disable_agent(&self, by: &Principal, id: AgentId) -> Result<(), HubError> {
        let mut tx = self.inner().store.begin().await?;
        // Two admins who disable each other must not both find that one is left.
        locks::of_name(&mut tx, "who is an admin").await?;
        let row = agents::by_id(&mut tx, id).await?.ok_or(HubError::NotFound("agent"))?;
        if row.disabled_at.is_some() {
            return Ok(());
        }
        if row.agent.role == Role::Admin && agents::admins(&mut tx).await? <= 1 {
            return Err(HubError::Conflict("this is the last admin; make another one first".to_owned()));
        }
        agents::disable(&mut tx, id).await?;
        sessions::end_all(&mut tx, id, None).await?;
        // A key has never more right than its maker (`security` K2).
        let revoked = keys::revoke_made_by(&mut tx, &id.to_string()).await?;
        note(&mut tx, Some(by), "agent.disabled", &id.to_string()).await?;
        tx.commit().await?;
        self.ended(id.to_string()).await;
        for key in revoked {
            self.ended(key.to_string()).await;
        }
        Ok(())
    }

    /// Begins a session. Tries are counted in the store before the password is looked at; what was
    /// wrong is never told, and unknown logins cost the same work.
    pub async fn log_in(&self, login: &str, password: &str, address: IpAddr) -> Result<LoggedIn, HubError> {
        let login = login_of(login).map_err(|_| HubError::Credentials)?;
        let counted = self.counted(&login, address).await?;
        let attempt = i64::from_be_bytes(random::bytes::<8>());
        self.may_guess(&counted, attempt).await?;
        if password.chars().count() > passwords::PASSWORD_CHARS_MAX {
            return Err(HubError::Credentials);
        }
        let mut reader = self.inner().store.read().await?;
        let row = agents::by_login(&mut reader, &login).await?.filter(|row| row.disabled_at.is_none());
        drop(reader);
        let given = Secret::new(password);
        let hash = row.as_ref().map(|row| row.password_hash.as_str());
        let checked = self.inner().passwords.check(&given, hash).await?;
        let (Some(row), Checked::Right | Checked::RightButOld) = (row, checked) else {
            metrics::counter!("loket_login_refused_total").increment(1);
            return Err(HubError::Credentials);
        };
        let newer = match checked {
            Checked::RightButOld => Some(self.inner().passwords.hash(&given).await?),
            Checked::Right | Checked::Wrong => None,
        };
        let known = known_key(&login, &address_key(address));
        self.establish_session(row, newer, &counted, attempt, &known).await
    }

    /// Under which keys a try from this address is counted.
    async fn counted(&self, login: &str, address: IpAddr) -> Result<[String; 2], HubError> {
        let address = address_key(address);
        let known = known_key(login, &address);
        let since = self.inner().clock.now().plus_millis(-KNOWN_MS);
        let mut reader = self.inner().store.read().await?;
        let is_known = agents::attempts(&mut reader, &known, since).await? > 0;
        let own = if is_known { format!("login:{login}|{address}") } else { format!("login:{login}") };
        Ok([own, address])
    }

    /// The one way to a session (`security` P6).
    async fn establish_session(
        &self,
        row: agents::AgentRow,
        newer_hash: Option<String>,
        counted: &[String],
        attempt: i64,
        known: &str,
    ) -> Result<LoggedIn, HubError> {
        let (token, hash) = tokens::new_session();
        let mut tx = self.inner().store.begin().await?;
        // Between the check and now they may have been disabled or have changed their password.
        let now_row = agents::by_id(&mut tx, row.agent.id).await?;
        let same =
            now_row.is_some_and(|now| now.disabled_at.is_none() && now.password_hash == row.password_hash);
        if !same {
            return Err(HubError::Credentials);
        }
        let session: SessionId = tx.id();
        let expires_at = tx.now().plus_millis(SESSION_MS);
        sessions::make(&mut tx, session, row.agent.id, &hash, expires_at).await?;
        if let Some(newer) = newer_hash {
            agents::set_password(&mut tx, row.agent.id, &row.password_hash, &newer).await?;
        }
        agents::forget_attempt(&mut tx, counted, attempt).await?;
        agents::remember(&mut tx, known).await?;
        tx.commit().await?;
        metrics::counter!("loket_login_total").increment(1);
        Ok(LoggedIn { agent: row.agent, session, token, expires_at })
    }

    /// Writes the try down first and counts then, each in a commit of its own: of many at once no
    /// more get through than the limit, on any backend, because one more row never lets more
    /// through. The window doubles each time that it was used up. Refused tries do not count, so
    /// that a stranger cannot lock somebody out for good.
    async fn may_guess(&self, counted: &[String; 2], attempt: i64) -> Result<(), HubError> {
        let mut tx = self.inner().store.begin().await?;
        let now = tx.now();
        let memory = now.plus_millis(-GUESS_MEMORY_MS);
        agents::sweep_attempts(&mut tx, memory, now.plus_millis(-KNOWN_MS)).await?;
        agents::attempt(&mut tx, counted, attempt).await?;
        tx.commit().await?;
        let mut reader = self.inner().store.read().await?;
        let mut wait_ms = None;
        for (key, most) in counted.iter().zip([GUESSES_PER_LOGIN, GUESSES_PER_ADDRESS]) {
            let all = agents::attempts(&mut reader, key, memory).await?;
            let recent = agents::attempts(&mut reader, key, now.plus_millis(-GUESS_WINDOW_MS)).await?;
            // Of those of the last minute no more than `most` were let through; the others are about
            // to be forgotten.
            let window_ms = guess_window_ms(all - recent + (recent - 1).min(most) + 1, most);
            if agents::attempts(&mut reader, key, now.plus_millis(-window_ms)).await? > most {
                // Free again once this one has left the window.
                let oldest = agents::attempt_before(&mut reader, key, most).await?.unwrap_or(now);
                let free_at = oldest.plus_millis(window_ms);
                // Others may have tried after this one looked at the clock: nobody waits longer for that.
                wait_ms = wait_ms.max(Some(free_at.millis_since(now).clamp(1, window_ms)));
            }
        }
        drop(reader);
        let Some(wait_ms) = wait_ms else { return Ok(()) };
        let mut tx = self.inner().store.begin().await?;
        agents::forget_attempt(&mut tx, counted, attempt).await?;
        tx.commit().await?;
        metrics::counter!("loket_login_limited_total").increment(1);
        Err(HubError::TooMany { retry_after_s: u64::try_from(wait_ms).unwrap_or(0).div_ceil(1_000) })
    }

    /// Whether they proved who they are so lately that they may do rare and weighty things
    /// (`security` P10). A login is the proof, and a newer one is a newer session. A key has proved
    /// nothing but was made by somebody who had.
    pub async fn is_fresh(&self, by: &Principal) -> Result<bool, HubError> {
        let PrincipalBy::Session(session, _) = by.by else { return Ok(true) };
        let mut reader = self.inner().store.read().await?;
        let began = sessions::began(&mut reader, session).await?;
        Ok(began.is_some_and(|began| self.inner().clock.now().millis_since(began) <= FRESH_MS))
    }

    /// Ends the asking session; nothing for a key.
    pub async fn log_out(&self, principal: &Principal) -> Result<(), HubError> {
        let PrincipalBy::Session(session, _) = principal.by else { return Ok(()) };
        let mut tx = self.inner().store.begin().await?;
        sessions::end(&mut tx, session).await?;
        tx.commit().await?;
        self.ended(session.to_string()).await;
        Ok(())
    }

    /// Changes the asking agent's password and ends their other sessions. The old one is asked for
    /// again, and guessing it is limited like a login.
    pub async fn change_password(&self, by: &Principal, old: &str, new: &str) -> Result<(), HubError> {
        let PrincipalBy::Session(session, agent) = by.by else {
            return Err(HubError::NotFound("password"));
        };
        let mut reader = self.inner().store.read().await?;
        let row = agents::by_id(&mut reader, agent).await?.ok_or(HubError::NotFound("agent"))?;
        drop(reader);
        self.inner().passwords.acceptable(new, &row.agent.login)?;
        let counted = [format!("login:{}", row.agent.login), format!("password:{agent}")];
        let attempt = i64::from_be_bytes(random::bytes::<8>());
        self.may_guess(&counted, attempt).await?;
        let checked = self.inner().passwords.check(&Secret::new(old), Some(&row.password_hash)).await?;
        if checked == Checked::Wrong {
            return Err(HubError::Credentials);
        }
        let hash = self.inner().passwords.hash(&Secret::new(new)).await?;
        let mut tx = self.inner().store.begin().await?;
        if !agents::set_password(&mut tx, agent, &row.password_hash, &hash).await? {
            return Err(HubError::Stale);
        }
        let others = sessions::end_all(&mut tx, agent, Some(session)).await?;
        agents::forget_attempt(&mut tx, &counted, attempt).await?;
        note(&mut tx, Some(by), "agent.password_changed", &agent.to_string()).await?;
        tx.commit().await?;
        for other in others {
            self.ended(other.to_string()).await;
        }
        Ok(())
    }

    /// Who holds this bearer token: a session's `los_…` or a key's `lok_…`. `None`: unknown, expired,
    /// revoked or mistyped. Asked of the store each time, so that a right that was taken is gone.
    pub async fn principal(&self, bearer: &str) -> Result<Option<Principal>, HubError> {
        match tokens::read(bearer) {
            Bearer::Nonsense => Ok(None),
            Bearer::Session(hash) => self.session_principal(&hash).await,
            Bearer::Key(id, hash) => self.key_principal(id, &hash).await,
        }
    }

    async fn session_principal(&self, hash: &str) -> Result<Option<Principal>, HubError> {
        let now = self.inner().clock.now();
        let mut reader = self.inner().store.read().await?;
        let found = sessions::by_token(&mut reader, hash, now, now.plus_millis(-IDLE_MS)).await?;
        drop(reader);
        let Some(row) = found else { return Ok(None) };
        if let PrincipalBy::Session(session, _) = row.principal.by
            && now.millis_since(row.last_used_at) >= USED_GRAIN_MS
        {
            // A session that was ended meanwhile stays ended: this touches no row then.
            let noted = async {
                let mut tx = self.inner().store.begin().await?;
                sessions::used(&mut tx, session).await?;
                tx.commit().await
            };
            if let Err(error) = noted.await {
                tracing::debug!(%error, "the use of a session was not noted");
            }
        }
        Ok(Some(row.principal))
    }

    async fn key_principal(
        &self,
        id: loket_protocol::ids::KeyId,
        hash: &str,
    ) -> Result<Option<Principal>, HubError> {
        let now = self.inner().clock.now();
        let mut reader = self.inner().store.read().await?;
        let found = keys::by_id(&mut reader, id).await?;
        drop(reader);
        let Some(row) = found else { return Ok(None) };
        let key = row.key;
        let last = key.last_used_at.unwrap_or(key.created_at);
        let holds = loket_backbone::secret::same(row.secret_hash.as_bytes(), hash.as_bytes())
            && key.revoked_at.is_none()
            && key.expires_at > now
            && now.millis_since(last) < KEY_UNUSED_MS;
        if !holds {
            return Ok(None);
        }
        if key.last_used_at.is_none_or(|used| now.millis_since(used) >= USED_GRAIN_MS) {
            let minute = Timestamp::from_millis(now.as_millis() / USED_GRAIN_MS * USED_GRAIN_MS);
            let noted = async {
                let mut tx = self.inner().store.begin().await?;
                keys::used(&mut tx, id, minute).await?;
                tx.commit().await
            };
            if let Err(error) = noted.await {
                tracing::debug!(%error, "the use of a key was not noted");
            }
        }
        Ok(Some(Principal { by: PrincipalBy::Key(id), role: key.role, name: key.name }))
    }

    /// Tells sockets in every process that a session or a principal is over; they look into the store
    /// by themselves as well.
    pub(crate) async fn ended(&self, principal: String) {
        self.live(&LiveSignal::SessionEnded { principal }).await;
    }
}

/// Notes who did what, in the transaction that does it.
pub(crate) async fn note(
    tx: &mut Tx,
    by: Option<&Principal>,
    act: &str,
    object: &str,
) -> Result<(), StoreError> {
    let actor = by.map_or_else(|| OPERATOR.to_owned(), Principal::id);
    audit::note(tx, Deed { actor: &actor, act, object: Some(object), why: None }).await
}

/// A page from one item more than fits.
pub(crate) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| more).map(cursor);
    Page { items, next_cursor }
}

/// Sessions that are not used since then are over.
pub(crate) fn idle_since(now: Timestamp) -> Timestamp {
    now.plus_millis(-IDLE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_compared_without_case() {
        assert_eq!(login_of("Anna.de-Vries@Shop").ok().as_deref(), Some("anna.de-vries@shop"));
        for bad in ["", " ", "a b", "é", "a\0", &"a".repeat(65)] {
            assert!(login_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_window_of_guesses_doubles_with_each_that_was_used_up() {
        let minutes: Vec<i64> =
            [0, 1, 5, 6, 10, 11, 15, 16, 21, 26, 1000].map(|n| guess_window_ms(n, 5) / 60_000).to_vec();
        assert_eq!(minutes, [1, 1, 1, 1, 1, 2, 2, 4, 8, 15, 15]);
    }

    #[test]
    fn an_ipv6_neighbourhood_counts_as_one_address() {
        let key = |text: &str| address_key(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }
}
