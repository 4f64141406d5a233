//! Facebook Messenger, and Instagram's messages where the Page has an Instagram account.
//!
//! `receive` turns a callback into events, `send` turns a reply into one call of the Send API. What
//! is deliberately not here: pacing and retries (the sender's), windows and identities (the hub's),
//! fetching of media (its own stage). Facts come from `reference/messenger.md`; the table of events
//! is in this folder's README.

mod codes;
mod compose;
pub mod fake;
mod receive;
mod send;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use loket_backbone::clock::Clock;
use loket_backbone::secret::Secret;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::channel::{AccountSettings, Capabilities, ChannelAccount, ChannelKind, LinkForm};
use loket_protocol::contact::HandleKind;
use loket_protocol::outbound::OutboundMessage;
use loket_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::channel::{Callback, Channel, Pace, Received, Rejected, SendError, Taken};
use crate::channels::Deps;
use crate::meta::{self, AppSecrets, Graph, GraphSettings};

/// The name of this channel, in addresses and settings.
pub const KIND: &str = "messenger";

/// The ordinary reply window (`messenger` §11).
const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;
/// The window for a person's own words, with the human-agent tag (`messenger` §11).
const HUMAN_WINDOW_MS: i64 = 7 * WINDOW_MS;
/// Send API calls per second and Page (`messenger` §12).
const ACCOUNT_PER_SECOND: f64 = 300.0;
/// Nothing is published for one thread; what a person can read sets the pace.
const PAIR_BURST: u32 = 20;
const PAIR_PER_SECOND: f64 = 5.0;

/// What is said of a section that does not have the right shape: the reader's own words could
/// repeat a secret.
const UNREADABLE: &str = "The section messenger has a key that it does not know, or a value that is no text: ids and \
                          tokens are written in quotes.";

/// `[messenger]` in the settings: one app of the platform and its Pages.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Signs callbacks and proves our calls (`messenger` §2).
    pub app_secret: Secret,
    /// The app secret before the last change: callbacks that it signed are still taken.
    pub app_secret_previous: Option<Secret>,
    /// Until when (RFC 3339); as long as it stands here when there is no end (`security` H3).
    pub app_secret_previous_until: Option<Timestamp>,
    /// What the platform repeats when it checks our address.
    pub verify_token: Secret,
    /// Our app's id, digits: tells our own echoes from others' (`messenger` §8).
    pub app_id: String,
    /// The Pages, by the operator's own names.
    pub accounts: BTreeMap<String, AccountSection>,
}

/// `[messenger.accounts.<name>]` in the settings: one Page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSection {
    /// The Page's id, digits.
    pub page_id: String,
    /// The Page's access token.
    pub access_token: Secret,
    /// The id of the Page's Instagram account, digits, if its messages come here too. They get a
    /// channel account of their own.
    #[serde(default)]
    pub instagram_id: Option<String>,
}

/// The channel for this section of the settings; `None` when no Page is configured. The error is
/// one sentence that says what to change and repeats no secret: a channel without its secrets does
/// not start (`security` H1).
pub fn build(section: Value, deps: &Deps) -> Result<Option<Arc<dyn Channel>>, String> {
    if section.is_null() {
        return Ok(None);
    }
    let settings: Settings = serde_json::from_value(section).map_err(|_| UNREADABLE.to_owned())?;
    if settings.accounts.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Messenger::new(settings, &deps.graph, deps.clock.clone())?)))
}

/// A Page that is configured here.
#[derive(Debug)]
struct Page {
    name: String,
    id: String,
    token: Secret,
    instagram_id: Option<String>,
}

/// Whose callbacks are taken.
#[derive(Debug)]
struct Accounts {
    kind: ChannelKind,
    app_id: String,
    pages: Vec<Page>,
}

impl Accounts {
    /// The channel account of that id, on the side of the platform where users are named so.
    fn channel(&self, users: HandleKind, id: &str) -> Option<ChannelAccount> {
        let is_ours = |page: &Page| match users {
            HandleKind::Igsid => page.instagram_id.as_deref() == Some(id),
            _ => page.id == id,
        };
        self.pages.iter().any(is_ours).then(|| self.account(id))
    }

    fn account(&self, id: &str) -> ChannelAccount {
        ChannelAccount { kind: self.kind.clone(), account: id.to_owned() }
    }

    /// The Page that sends for a channel account, and how the account names its users.
    fn sender(&self, account: &str) -> Option<(&Page, HandleKind)> {
        self.pages.iter().find_map(|page| {
            if page.id == account {
                return Some((page, HandleKind::Psid));
            }
            (page.instagram_id.as_deref() == Some(account)).then_some((page, HandleKind::Igsid))
        })
    }
}

struct Messenger {
    secrets: AppSecrets,
    verify_token: Secret,
    accounts: Accounts,
    graph: Graph,
    clock: Clock,
}

impl Messenger {
    fn new(settings: Settings, graph: &GraphSettings, clock: Clock) -> Result<Self, String> {
        let Settings {
            app_secret,
            app_secret_previous,
            app_secret_previous_until,
            verify_token,
            app_id,
            accounts,
        } = settings;
        let secrets = AppSecrets::new(KIND, app_secret, app_secret_previous, app_secret_previous_until)?;
        if verify_token.is_empty() {
            return Err("messenger.verify_token is empty: choose one and give it to the platform.".to_owned());
        }
        if !is_digits(&app_id) {
            return Err("messenger.app_id must be the digits of the app's id.".to_owned());
        }
        let mut pages: Vec<Page> = Vec::with_capacity(accounts.len());
        let mut seen: Vec<String> = Vec::new();
        for (name, AccountSection { page_id, access_token, instagram_id }) in accounts {
            let section = format!("messenger.accounts.{name}");
            for (key, id) in [("page_id", Some(&page_id)), ("instagram_id", instagram_id.as_ref())] {
                let Some(id) = id else { continue };
                if !is_digits(id) {
                    return Err(format!("{section}.{key} must be digits."));
                }
                if seen.contains(id) {
                    return Err(format!("{section}.{key} is configured twice."));
                }
                seen.push(id.clone());
            }
            if access_token.is_empty() {
                return Err(format!("{section}.access_token is empty: enter the Page's token."));
            }
            pages.push(Page { name, id: page_id, token: access_token, instagram_id });
        }
        let kind = ChannelKind::new(KIND).map_err(|error| error.to_string())?;
        Ok(Self {
            secrets,
            verify_token,
            accounts: Accounts { kind, app_id, pages },
            graph: Graph::new(graph)?,
            clock,
        })
    }

    /// Hexadecimal HMAC-SHA256 of a token with the app secret: proves to Graph that the call is
    /// ours and not a thief's of the token (`messenger` §2).
    fn proof(&self, token: &Secret) -> String {
        use std::fmt::Write as _;
        // HMAC takes a key of any length, so the error cannot come up.
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(self.secrets.current().expose().as_bytes()) else {
            return String::new();
        };
        let digest = mac.chain_update(token.expose().as_bytes()).finalize().into_bytes();
        digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

fn is_digits(id: &str) -> bool {
    !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_digit())
}

fn capabilities() -> Capabilities {
    Capabilities {
        window_ms: Some(WINDOW_MS),
        human_window_ms: Some(HUMAN_WINDOW_MS),
        reads_the_thread: false,
        text_chars_max: compose::TEXT_CHARS_MAX,
        content_types: compose::CONTENT_TYPES.iter().map(|kind| (*kind).to_owned()).collect(),
        // There are none (`messenger` §11): the text goes in front.
        captions: Vec::new(),
        caption_chars_max: 0,
        reactions: false,
    }
}

#[async_trait]
impl Channel for Messenger {
    fn accounts(&self) -> Vec<AccountSettings> {
        let of = |id: &str, name: String, link: Option<LinkForm>| AccountSettings {
            channel: self.accounts.account(id),
            name,
            link,
            capabilities: capabilities(),
        };
        let mut all = Vec::new();
        for page in &self.accounts.pages {
            let before = format!("https://m.me/{}?ref=", page.id);
            all.push(of(&page.id, page.name.clone(), Some(LinkForm { before, carries_words: false })));
            if let Some(instagram_id) = &page.instagram_id {
                all.push(of(instagram_id, format!("{} (Instagram)", page.name), None));
            }
        }
        all
    }

    fn handshake(&self, mode: &str, token: &str, challenge: &str) -> Result<String, Rejected> {
        meta::handshake(&self.verify_token, mode, token, challenge)
    }

    fn authenticate(&self, callback: &Callback) -> Result<(), Rejected> {
        self.secrets.verify(callback)
    }

    fn receive(&self, callback: &Callback) -> Result<Received, Rejected> {
        let body = meta::parse(&callback.body)?;
        Ok(receive::receive(&self.accounts, &body, callback.body.len(), callback.received_at))
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Taken, SendError> {
        self.send_message(message).await
    }

    async fn signal(&self, signal: &Signal) -> SignalReply {
        self.send_action(signal).await
    }

    fn pace(&self, _account: &str) -> Pace {
        Pace {
            account_per_second: ACCOUNT_PER_SECOND,
            pair_burst: PAIR_BURST,
            pair_per_second: PAIR_PER_SECOND,
        }
    }

    async fn probe(&self, account: &str) -> Result<(), String> {
        self.probe_account(account).await
    }
}
