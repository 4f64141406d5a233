//! Who asks, and what they may do. The scope that a route needs stands in its handler's signature:
//! the first parameter is [`Caller`], [`Person`] or [`Anyone`], and a route without one does not
//! compile. One table maps roles to scopes.
//!
//! There is only the bearer token here. The inbox's cookie session comes with the inbox.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use loket_backbone::secret::Secret;
use loket_hub::{Hub, Principal};
use loket_protocol::agent::Role::{self, Admin, Agent, Bot, Integrator, Lead};
use loket_protocol::ids::AgentId;

use crate::error::{Code, Problem};

/// The longest bearer token that is looked up at all.
const BEARER_BYTES_MAX: usize = 256;

/// The scopes as rows: name in Rust, name outside, who has it, meaning.
macro_rules! scopes {
    ($($scope:ident, $name:literal, [$($role:ident),+], $meaning:literal;)+) => {
        /// What a route can ask for: a noun and a verb (`security` K2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Scope {
            $(#[doc = $meaning] $scope,)+
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &[Self] = &[$(Self::$scope,)+];

            /// The name as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$scope => $name,)+ }
            }

            /// What it lets one do.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$scope => $meaning,)+ }
            }

            /// The roles that have it.
            pub fn roles(self) -> &'static [Role] {
                match self { $(Self::$scope => &[$($role),+],)+ }
            }
        }

        /// The scopes as types, for handlers' signatures.
        pub(crate) mod scope {
            $(#[doc = $meaning] pub(crate) struct $scope;
            impl super::Needed for $scope {
                const SCOPE: super::Scope = super::Scope::$scope;
            })+
        }
    };
}

scopes! {
    MeRead, "me:read", [Admin, Lead, Agent, Bot, Integrator], "See who one is and what one may do.";
    MeWrite, "me:write", [Admin, Lead, Agent], "Log out, set one's presence, change one's password.";
    ThreadsRead, "threads:read", [Admin, Lead, Agent, Bot, Integrator], "Read threads and their messages.";
    ThreadsWrite, "threads:write", [Admin, Lead, Agent, Bot, Integrator], "Reply, add notes, mark as read, show typing.";
    ThreadsControl, "threads:control", [Admin, Lead, Agent, Bot], "Take, pass, offer, accept and release control.";
    ThreadsAssign, "threads:assign", [Admin, Lead, Agent], "Assign, resolve and reopen threads.";
    ContactsRead, "contacts:read", [Admin, Lead, Agent, Bot, Integrator], "Read contacts and their identities.";
    ContactsMerge, "contacts:merge", [Admin, Lead, Agent], "Join contacts that are one person, and take it back.";
    EventsRead, "events:read", [Admin, Lead, Agent, Bot, Integrator], "Read the log, pulled or on the socket.";
    ChannelsRead, "channels:read", [Admin, Lead, Agent, Integrator], "See the channel accounts and how they are doing.";
    AgentsRead, "agents:read", [Admin, Lead, Agent], "See the agents and their presence.";
    AgentsWrite, "agents:write", [Admin], "Create and disable agents.";
    KeysRead, "keys:read", [Admin], "See the API keys, without their secrets.";
    KeysWrite, "keys:write", [Admin], "Create and revoke API keys.";
    ParkedRead, "parked:read", [Admin], "See parked items and their raw bytes.";
    ParkedWrite, "parked:write", [Admin], "Replay and drop parked items.";
    StatusRead, "status:read", [Admin, Lead], "See how the parts of the installation are doing.";
}

impl Scope {
    /// Whether a role has it.
    pub fn allows(self, role: Role) -> bool {
        self.roles().contains(&role)
    }

    /// All that a role has.
    pub fn of(role: Role) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|scope| scope.allows(role)).collect()
    }
}

/// What a door asks for, as its handler's signature declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: no token is looked at.
    Public,
    /// A token whose role has the scope.
    Scope(Scope),
    /// The same, and it must be an agent's session and not a key.
    Person(Scope),
    /// As [`Self::Scope`], and a session must come of a login within the last ten minutes
    /// (`security` P10).
    Fresh(Scope),
}

impl Access {
    /// Lets a principal in, or says why not.
    pub(crate) fn check(self, principal: &Principal) -> Result<(), Problem> {
        let (scope, person) = match self {
            Self::Public => return Ok(()),
            Self::Scope(scope) | Self::Fresh(scope) => (scope, false),
            Self::Person(scope) => (scope, true),
        };
        if !scope.allows(principal.role) {
            return Err(Problem::new(
                Code::Forbidden,
                format!(
                    "This needs the scope {}, which the role {} lacks.",
                    scope.as_str(),
                    principal.role.as_str()
                ),
            ));
        }
        if person && principal.agent().is_none() {
            return Err(Problem::of(Code::AgentRequired));
        }
        Ok(())
    }
}

/// A scope as a type.
pub(crate) trait Needed {
    const SCOPE: Scope;
}

/// Something that declares an access: the first parameter of a handler, and so every handler's
/// parameters as a whole.
pub(crate) trait Declared {
    const ACCESS: Access;
}

/// Whoever asks, with a token whose role has the scope.
pub(crate) struct Caller<S> {
    principal: Principal,
    needed: PhantomData<S>,
}

impl<S> Deref for Caller<S> {
    type Target = Principal;
    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// A logged-in agent whose role has the scope.
pub(crate) struct Person<S> {
    principal: Principal,
    /// Who.
    pub(crate) agent: AgentId,
    needed: PhantomData<S>,
}

impl<S> Deref for Person<S> {
    type Target = Principal;
    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// Whoever asks, with a token whose role has the scope, and lately logged in if it is a session's. The
/// gate has asked the hub.
pub(crate) struct Fresh<S> {
    principal: Principal,
    needed: PhantomData<S>,
}

impl<S> Deref for Fresh<S> {
    type Target = Principal;
    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// Everybody, also without a token.
pub(crate) struct Anyone;

impl<S: Needed> Declared for Caller<S> {
    const ACCESS: Access = Access::Scope(S::SCOPE);
}

impl<S: Needed> Declared for Person<S> {
    const ACCESS: Access = Access::Person(S::SCOPE);
}

impl<S: Needed> Declared for Fresh<S> {
    const ACCESS: Access = Access::Fresh(S::SCOPE);
}

impl Declared for Anyone {
    const ACCESS: Access = Access::Public;
}

macro_rules! declared {
    ($($rest:ident),*) => {
        impl<First: Declared, $($rest),*> Declared for (First, $($rest,)*) {
            const ACCESS: Access = First::ACCESS;
        }
    };
}
declared!();
declared!(A);
declared!(A, B);
declared!(A, B, C);
declared!(A, B, C, D);
declared!(A, B, C, D, E);

/// A principal with the token it came with, put into the request by the gate and nowhere else.
#[derive(Clone)]
pub(crate) struct Authenticated {
    /// Who.
    pub(crate) principal: Principal,
    /// With what; a socket asks again with it (`security` P8).
    pub(crate) bearer: Secret,
}

fn present(req: &HttpRequest, access: Access) -> Result<Principal, Problem> {
    let extensions = req.extensions();
    let found = extensions.get::<Authenticated>().ok_or_else(|| Problem::of(Code::Unauthenticated))?;
    access.check(&found.principal)?;
    Ok(found.principal.clone())
}

impl<S: Needed> FromRequest for Caller<S> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(present(req, Self::ACCESS).map(|principal| Self { principal, needed: PhantomData }))
    }
}

impl<S: Needed> FromRequest for Person<S> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(present(req, Self::ACCESS).and_then(|principal| {
            let agent = principal.agent().ok_or_else(|| Problem::of(Code::AgentRequired))?;
            Ok(Self { principal, agent, needed: PhantomData })
        }))
    }
}

impl<S: Needed> FromRequest for Fresh<S> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(present(req, Self::ACCESS).map(|principal| Self { principal, needed: PhantomData }))
    }
}

impl FromRequest for Anyone {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

/// The one bearer token of a request.
fn bearer(req: &HttpRequest) -> Result<Secret, Problem> {
    let unauthenticated = || {
        Problem::new(
            Code::Unauthenticated,
            "Send a session's token (los_…) or an API key (lok_…) as Authorization: Bearer; POST /v1/sessions gives one.",
        )
    };
    let mut values = req.headers().get_all(header::AUTHORIZATION);
    let value = values.next().ok_or_else(unauthenticated)?;
    if values.next().is_some() {
        return Err(Problem::new(Code::Unauthenticated, "There is more than one Authorization header."));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(unauthenticated)?;
    let token = token.trim();
    let ours = token.starts_with("los_") || token.starts_with("lok_");
    if !scheme.eq_ignore_ascii_case("bearer") || !ours || token.len() > BEARER_BYTES_MAX {
        return Err(unauthenticated());
    }
    Ok(Secret::new(token))
}

/// Looks the token of a request up.
pub(crate) async fn authenticate(hub: &Hub, req: &HttpRequest) -> Result<Authenticated, Problem> {
    let bearer = bearer(req)?;
    match hub.principal(bearer.expose()).await? {
        Some(principal) => Ok(Authenticated { principal, bearer }),
        None => Err(Problem::of(Code::Unauthenticated)),
    }
}

/// Query parameters that people put tokens into.
const TOKEN_PARAMETERS: &[&str] =
    &["token", "access_token", "api_key", "apikey", "key", "bearer", "authorization", "session", "ticket"];

/// Refuses a token in the address, where it would end up in logs (`security` K1, WS2).
pub(crate) fn refuse_token_in_url(pairs: &[(String, String)]) -> Result<(), Problem> {
    let is_token = |(name, value): &(String, String)| {
        TOKEN_PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
            || value.starts_with("los_")
            || value.starts_with("lok_")
    };
    if pairs.iter().any(is_token) { Err(Problem::of(Code::TokenInUrl)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use actix_web::test::TestRequest;
    use loket_backbone::clock::Clock;
    use loket_hub::PrincipalBy;
    use loket_protocol::ids::KeyId;

    use super::*;

    fn key_of(role: Role) -> Principal {
        Principal { by: PrincipalBy::Key(Clock::system().id::<KeyId>()), role, name: "k".to_owned() }
    }

    #[test]
    fn scopes_have_one_name_each_and_the_admin_has_all() {
        let names: HashSet<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        assert_eq!(names.len(), Scope::ALL.len());
        assert_eq!(Scope::of(Admin).len(), Scope::ALL.len());
        for role in [Agent, Bot, Integrator] {
            for weighty in [Scope::AgentsWrite, Scope::KeysRead, Scope::KeysWrite, Scope::ParkedRead] {
                assert!(!weighty.allows(role), "{role:?} must not have {weighty:?}");
            }
        }
        assert!(!Scope::StatusRead.allows(Agent) && Scope::StatusRead.allows(Lead));
    }

    #[test]
    fn a_missing_scope_is_named_and_a_key_is_no_person() {
        let refused = Access::Scope(Scope::KeysWrite).check(&key_of(Bot)).unwrap_err();
        assert_eq!(refused.code(), Code::Forbidden);
        assert!(refused.detail().contains("keys:write") && refused.detail().contains("bot"));
        let refused = Access::Person(Scope::MeWrite).check(&key_of(Admin)).unwrap_err();
        assert_eq!(refused.code(), Code::AgentRequired);
        assert_eq!(Access::Scope(Scope::MeRead).check(&key_of(Bot)), Ok(()));
    }

    #[test]
    fn the_signature_declares_the_access() {
        type Args = (Caller<scope::KeysRead>, u8, u16);
        assert_eq!(Args::ACCESS, Access::Scope(Scope::KeysRead));
        assert_eq!(<(Person<scope::MeWrite>,)>::ACCESS, Access::Person(Scope::MeWrite));
        assert_eq!(<(Anyone, u8)>::ACCESS, Access::Public);
    }

    #[test]
    fn only_one_bearer_of_ours_is_looked_up() {
        let with = |value: &str| {
            bearer(&TestRequest::get().insert_header(("authorization", value)).to_http_request())
        };
        assert!(with("Bearer los_abc").unwrap().is("los_abc"));
        assert!(with("bearer lok_abc").is_ok());
        let long = format!("Bearer los_{}", "a".repeat(300));
        for bad in ["", "Bearer", "Bearer ", "Basic los_abc", "Bearer abc", "los_abc", long.as_str()] {
            assert!(with(bad).is_err(), "{bad}");
        }
        let two = TestRequest::get()
            .append_header(("authorization", "Bearer los_a"))
            .append_header(("authorization", "Bearer los_b"))
            .to_http_request();
        assert!(bearer(&two).is_err());
    }

    #[test]
    fn tokens_in_addresses_are_found_by_name_and_by_form() {
        let pair = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
        assert!(refuse_token_in_url(&pair("access_token", "x")).is_err());
        assert!(refuse_token_in_url(&pair("Token", "x")).is_err());
        assert!(refuse_token_in_url(&pair("cursor", "lok_abc")).is_err());
        assert!(refuse_token_in_url(&pair("cursor", "abc")).is_ok());
    }
}
