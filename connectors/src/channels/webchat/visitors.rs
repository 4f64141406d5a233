//! Visitors: who somebody is by their token, and what the hub knows of them. The token is 256 random
//! bits under the name of its site; only its hash leaves this process (`security` VI2).

use std::fmt::Write as _;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use bytes::Bytes;
use loket_backbone::bus::{BusError, Wire};
use loket_backbone::kv::SharedKv;
use loket_backbone::random;
use loket_backbone::secret::Secret;
use loket_protocol::asks::{WebchatAsk, WebchatReply};
use loket_protocol::ids::{ThreadId, VisitorId};
use loket_protocol::time::Timestamp;
use loket_protocol::topics::WEBCHAT;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::is_site_name;
use super::view::{VisitorAnswering, VisitorMessage};
use crate::refusal::Refusal;

/// How long a single-use ticket lives (`security` WS2).
pub(super) const TICKET_TIME: Duration = Duration::from_secs(30);
/// How long the hub may take.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// When to come back while the hub is away, in seconds.
const RETRY_AFTER_S: u32 = 2;
/// What a token begins with, so that scanners for secrets know it.
const TOKEN_PREFIX: &str = "lov_";
const TICKET_PREFIX: &str = "lot_";
/// The digits of a token's or a ticket's secret.
const SECRET_DIGITS: usize = 64;

/// A visitor token: `lov_<site>.<64 hexadecimal digits>`.
pub(super) struct Token(Secret);

impl Token {
    /// A new one for a site.
    pub(super) fn mint(site: &str) -> Self {
        Self(Secret::new(format!("{TOKEN_PREFIX}{site}.{}", random::hex::<32>())))
    }

    /// The token in `Authorization: Bearer …`. `Ok(None)`: there is none. What is not of the form
    /// is refused before anybody is asked.
    pub(super) fn of(request: &HttpRequest) -> Result<Option<Self>, Refusal> {
        let mut values = request.headers().get_all(AUTHORIZATION);
        let Some(value) = values.next() else { return Ok(None) };
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let token = token.filter(|token| split(token).is_some()).ok_or(Refusal::VisitorToken)?;
        if values.next().is_some() {
            return Err(Refusal::VisitorToken);
        }
        Ok(Some(Self(Secret::new(token))))
    }

    /// The site that it was made for.
    pub(super) fn site(&self) -> &str {
        split(self.0.expose()).unwrap_or_default()
    }

    /// What is kept of it.
    pub(super) fn hash(&self) -> String {
        hash(self.0.expose())
    }

    /// The token itself, for its owner.
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The site in a token of the right form.
fn split(token: &str) -> Option<&str> {
    let (site, secret) = token.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
    let fits = is_site_name(site)
        && secret.len() == SECRET_DIGITS
        && secret.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    fits.then_some(site)
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// A page of a visitor's thread.
#[derive(Debug, Serialize)]
pub(super) struct History {
    pub(super) messages: Vec<VisitorMessage>,
    /// There is more after the last one.
    pub(super) more: bool,
    /// How far this page goes, shown or not.
    #[serde(skip)]
    pub(super) up_to_seq: i64,
    /// Whose numbers these are: a merge or its undo puts a visitor's talk into another thread.
    #[serde(skip)]
    pub(super) thread: Option<ThreadId>,
    /// Who answers now; null before anything was said.
    pub(super) answering: Option<VisitorAnswering>,
}

async fn ask(wire: &Wire, question: &WebchatAsk) -> Result<WebchatReply, Refusal> {
    wire.ask(&WEBCHAT, question, ASK_DEADLINE).await.map_err(|error| {
        tracing::warn!(%error, "the hub does not answer web chat");
        Refusal::Away(RETRY_AFTER_S)
    })
}

fn unexpected() -> Refusal {
    let error = BusError::Unreadable("an answer to another question".to_owned());
    tracing::error!(%error, "the hub's answer to web chat does not fit");
    Refusal::Away(RETRY_AFTER_S)
}

/// Whose token it is; `None` when it is nobody's.
pub(super) async fn resolve(wire: &Wire, token: &Token) -> Result<Option<VisitorId>, Refusal> {
    let question = WebchatAsk::Visitor { site: token.site().to_owned(), token_hash: token.hash() };
    match ask(wire, &question).await? {
        WebchatReply::Visitor { visitor, .. } => Ok(Some(visitor)),
        WebchatReply::Unknown => Ok(None),
        _ => Err(unexpected()),
    }
}

/// A visit begins: of the visitor of the token `known`, else of a new one, whose token is `fresh`. True
/// when they are new.
pub(super) async fn arrive(
    wire: &Wire,
    known: Option<&Token>,
    fresh: &Token,
) -> Result<(VisitorId, bool), Refusal> {
    let question = WebchatAsk::Visit {
        site: fresh.site().to_owned(),
        token_hash: known.map(Token::hash),
        new_token_hash: fresh.hash(),
    };
    match ask(wire, &question).await? {
        WebchatReply::Visitor { visitor, is_new, .. } => Ok((visitor, is_new)),
        _ => Err(unexpected()),
    }
}

/// What stands in the visitor's thread after a number.
pub(super) async fn history(
    wire: &Wire,
    site: &str,
    visitor: VisitorId,
    after_seq: i64,
    thread: Option<ThreadId>,
) -> Result<History, Refusal> {
    match ask(wire, &WebchatAsk::History { site: site.to_owned(), visitor, after_seq, thread }).await? {
        WebchatReply::History { messages, more, up_to_seq, thread, answering } => {
            let last = messages.iter().map(|message| message.seq).max();
            // A hub of the version before tells no number of its own.
            let up_to_seq = up_to_seq.unwrap_or_else(|| last.unwrap_or(after_seq).max(after_seq));
            let messages = messages.into_iter().filter_map(VisitorMessage::of).collect();
            Ok(History { messages, more, up_to_seq, thread, answering: answering.map(VisitorAnswering::of) })
        }
        // Somebody who has not written yet has no thread.
        WebchatReply::Unknown => Ok(History {
            messages: Vec::new(),
            more: false,
            up_to_seq: after_seq,
            thread: None,
            answering: None,
        }),
        _ => Err(unexpected()),
    }
}

/// Keeps what a visitor says of themselves; the field that cannot be what it is said to be.
pub(super) async fn claim(
    wire: &Wire,
    site: &str,
    visitor: VisitorId,
    [name, email, phone]: [Option<String>; 3],
) -> Result<Option<String>, Refusal> {
    let question = WebchatAsk::Claim { site: site.to_owned(), visitor, name, email, phone };
    match ask(wire, &question).await? {
        WebchatReply::Claimed => Ok(None),
        WebchatReply::BadClaim { field } => Ok(Some(field)),
        _ => Err(unexpected()),
    }
}

/// An address by which a visitor goes on elsewhere as the same person, and until when it counts; `None` when
/// there is nothing to link to, or they have said nothing yet.
pub(super) async fn link(
    wire: &Wire,
    site: &str,
    visitor: VisitorId,
    channel: String,
    language: Option<String>,
) -> Result<Option<(String, Timestamp)>, Refusal> {
    let question = WebchatAsk::Link { site: site.to_owned(), visitor, channel, language };
    match ask(wire, &question).await? {
        WebchatReply::Link { address, expires_at } => Ok(Some((address, expires_at))),
        WebchatReply::NoLink => Ok(None),
        _ => Err(unexpected()),
    }
}

/// Who has news.
pub(super) struct News {
    /// `None`: the hub is of the version before and cannot tell; it may be anybody.
    pub(super) visitors: Option<Vec<VisitorId>>,
    /// Where the next question begins.
    pub(super) up_to: Option<i64>,
    /// Ask again at once.
    pub(super) more: bool,
}

/// In whose conversations something changed after a place in the log.
pub(super) async fn news(wire: &Wire, after: Option<i64>) -> Result<News, Refusal> {
    Ok(match ask(wire, &WebchatAsk::News { after }).await? {
        WebchatReply::News { visitors, up_to, more } => {
            News { visitors: Some(visitors), up_to: Some(up_to), more }
        }
        _ => News { visitors: None, up_to: None, more: false },
    })
}

/// Whom a ticket lets in.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Admission {
    site: String,
    visitor: VisitorId,
}

fn ticket_key(ticket: &str) -> String {
    format!("webchat:ticket:{}", hash(ticket))
}

/// A ticket that opens one socket of this visitor within [`TICKET_TIME`].
pub(super) async fn issue_ticket(kv: &SharedKv, site: &str, visitor: VisitorId) -> Result<String, Refusal> {
    let ticket = format!("{TICKET_PREFIX}{}", random::hex::<32>());
    let admission = Admission { site: site.to_owned(), visitor };
    let value = serde_json::to_vec(&admission).map_err(|_| Refusal::Away(RETRY_AFTER_S))?;
    kv.set(&ticket_key(&ticket), Bytes::from(value), TICKET_TIME).await.map_err(|error| {
        tracing::warn!(%error, "no ticket can be issued");
        Refusal::Away(RETRY_AFTER_S)
    })?;
    Ok(ticket)
}

/// Whom a ticket lets in at this site, once.
pub(super) async fn redeem_ticket(kv: &SharedKv, site: &str, ticket: &str) -> Result<VisitorId, Refusal> {
    if ticket.len() != TICKET_PREFIX.len() + SECRET_DIGITS || !ticket.starts_with(TICKET_PREFIX) {
        return Err(Refusal::VisitorToken);
    }
    let value = kv.take(&ticket_key(ticket)).await.map_err(|error| {
        tracing::warn!(%error, "a ticket cannot be looked up");
        Refusal::Away(RETRY_AFTER_S)
    })?;
    let admission: Admission =
        value.and_then(|value| serde_json::from_slice(&value).ok()).ok_or(Refusal::VisitorToken)?;
    if admission.site == site { Ok(admission.visitor) } else { Err(Refusal::VisitorToken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn bearer(values: &[&str]) -> Result<Option<String>, Refusal> {
        let mut request = TestRequest::default();
        for value in values {
            request = request.append_header((AUTHORIZATION, *value));
        }
        Token::of(&request.to_http_request()).map(|token| token.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn a_token_names_its_site_and_is_read_back() {
        let token = Token::mint("shop-2");
        assert_eq!(token.site(), "shop-2");
        let header = format!("Bearer {}", token.expose());
        assert_eq!(bearer(&[&header]), Ok(Some(token.expose().to_owned())));
        assert_eq!(bearer(&[]), Ok(None));
        assert_eq!(token.hash().len(), 64);
        assert_ne!(token.hash(), Token::mint("shop-2").hash());
    }

    #[test]
    fn what_is_no_token_is_refused_before_anybody_is_asked() {
        let good = Token::mint("shop");
        let good = good.expose();
        let bad = [
            String::new(),
            "Bearer ".to_owned(),
            good.to_owned(),
            format!("bearer {good}"),
            format!("Basic {good}"),
            format!("Bearer {good} "),
            format!("Bearer {good}0"),
            format!("Bearer {}", &good[..good.len() - 1]),
            format!("Bearer {}", good.to_uppercase()),
            format!("Bearer {}", good.replace("shop", "")),
            format!("Bearer {}", good.replace("shop", "a/b")),
            "Bearer null".to_owned(),
        ];
        for header in bad {
            assert_eq!(bearer(&[&header]), Err(Refusal::VisitorToken), "{header}");
        }
        let twice = format!("Bearer {good}");
        assert_eq!(bearer(&[&twice, &twice]), Err(Refusal::VisitorToken));
    }
}
