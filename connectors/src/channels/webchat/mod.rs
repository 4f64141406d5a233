//! Web chat: our own channel, whose provider's side is a browser. A visitor's words take the same
//! road as a callback, and are acknowledged once the bus has them; what we say is read from the
//! thread, which the hub is asked for (`design.md` §3, Web chat over several processes).
//!
//! There is no durable state here: visitors and their history are the hub's, tickets and counts are
//! kv's. The widget's front end is in `widget/`. Deliberately absent: uploads, and logins proven by a
//! site.

mod accent;
mod faces;
mod frames;
mod look;
mod origins;
mod rates;
mod routes;
mod socket;
mod sockets;
mod view;
mod visitors;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web::ServiceConfig;
use async_trait::async_trait;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::channel::{AccountSettings, Capabilities, ChannelAccount, ChannelKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::outbound::OutboundMessage;
use serde::Deserialize;

use crate::channel::{Callback, Channel, Pace, Received, Rejected, SendError, Taken};
use crate::refusal::Refusal;
use faces::Faces;
use look::Look;
use origins::Origins;

pub use look::{Corner, Elsewhere, Language, Paper, Texts};
pub use rates::Rates;
pub(crate) use sockets::Sockets;

/// The name of the channel.
pub const KIND: &str = "webchat";
/// The longest text of a visitor and of ours, in characters.
pub const TEXT_CHARS_MAX: usize = 10_000;
/// The longest name of a site.
const SITE_CHARS_MAX: usize = 64;

/// The section `webchat` of the settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sites, by a name that also stands in addresses.
    pub sites: BTreeMap<String, SiteSettings>,
    /// How fast strangers may go.
    pub rates: Rates,
}

/// The section `webchat.sites.<name>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSettings {
    /// The origins whose pages may open the chat.
    pub origins: Vec<String>,
    /// The site's colour, such as `#0b5d5a`; it is mended where it could not be read.
    pub accent: Option<String>,
    /// The language of the chat; absent: the page's, or the browser's.
    pub language: Option<Language>,
    /// In which corner the button stands.
    #[serde(default)]
    pub corner: Corner,
    /// On what paper the chat is written.
    #[serde(default)]
    pub paper: Paper,
    /// Where a visitor may go on as the same person: `whatsapp`, `messenger`.
    #[serde(default)]
    pub continue_on: Vec<Elsewhere>,
    /// Words of the site's own, by language.
    #[serde(default)]
    pub texts: BTreeMap<Language, Texts>,
}

/// One configured site.
pub(crate) struct Site {
    name: Arc<str>,
    account: ChannelAccount,
    origins: Origins,
    faces: Faces,
}

/// All configured sites, and how fast strangers may go.
pub(crate) struct Sites {
    by_name: BTreeMap<String, Arc<Site>>,
    rates: Rates,
}

impl Sites {
    fn site(&self, name: &str) -> Result<&Arc<Site>, Refusal> {
        self.by_name.get(name).ok_or(Refusal::UnknownSite)
    }

    fn lists(&self, origin: &str) -> bool {
        self.by_name.values().any(|site| site.origins.lists(origin))
    }
}

struct Webchat {
    sites: Arc<Sites>,
}

/// The channel for these settings; `None` when there is no site. The error is one sentence that says
/// what to change: a site without origins, an origin that is none, a name that does not fit into an
/// address.
pub fn build(settings: Settings) -> Result<Option<Box<dyn Channel>>, String> {
    let kind = ChannelKind::new(KIND).map_err(|error| error.to_string())?;
    let mut by_name = BTreeMap::new();
    for (name, site) in settings.sites {
        if !is_site_name(&name) {
            return Err(format!(
                "webchat.sites.{name}: a site's name is 1 to {SITE_CHARS_MAX} of a-z, 0-9, _ and -"
            ));
        }
        let origins = Origins::parse(&site.origins)
            .map_err(|error| format!("webchat.sites.{name}.origins: {error}"))?;
        let look = Look::of(&name, &site).map_err(|error| format!("webchat.sites.{name}.{error}"))?;
        let faces = Faces::of(&look)?;
        let account = ChannelAccount { kind: kind.clone(), account: name.clone() };
        let site = Site { name: name.as_str().into(), account, origins, faces };
        by_name.insert(name, Arc::new(site));
    }
    if by_name.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(Webchat { sites: Arc::new(Sites { by_name, rates: settings.rates }) })))
}

/// Names stand in addresses, tokens and keys, so they are plain.
fn is_site_name(name: &str) -> bool {
    (1..=SITE_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

#[async_trait]
impl Channel for Webchat {
    fn accounts(&self) -> Vec<AccountSettings> {
        let capabilities = Capabilities {
            window_ms: None,
            human_window_ms: None,
            reads_the_thread: true,
            text_chars_max: TEXT_CHARS_MAX,
            content_types: ["text", "image", "video", "audio", "document", "buttons", "quick_replies"]
                .map(str::to_owned)
                .to_vec(),
            captions: ["image", "video", "audio", "document"].map(str::to_owned).to_vec(),
            caption_chars_max: TEXT_CHARS_MAX,
            reactions: false,
        };
        let accounts = self.sites.by_name.values().map(|site| AccountSettings {
            channel: site.account.clone(),
            name: site.name.to_string(),
            link: None,
            capabilities: capabilities.clone(),
        });
        accounts.collect()
    }

    fn takes_callbacks(&self) -> bool {
        false
    }

    fn handshake(&self, _mode: &str, _token: &str, _challenge: &str) -> Result<String, Rejected> {
        Err(Rejected::Handshake("web chat has no provider that calls".to_owned()))
    }

    fn authenticate(&self, _callback: &Callback) -> Result<(), Rejected> {
        Err(Rejected::Signature)
    }

    fn receive(&self, _callback: &Callback) -> Result<Received, Rejected> {
        Err(Rejected::Signature)
    }

    /// Never asked by the hub, because the visitor reads the thread.
    async fn send(&self, _message: &OutboundMessage) -> Result<Taken, SendError> {
        Err(SendError::NotSent {
            class: SendClass::Final,
            code: None,
            subcode: None,
            retry_after_ms: None,
            sentence: "web chat reads the thread itself; nothing is sent to it".to_owned(),
        })
    }

    /// Typing reaches a visitor by the wake-up, and what we have read is not told to visitors
    /// (`security` G10).
    async fn signal(&self, _signal: &Signal) -> SignalReply {
        SignalReply::NotDone
    }

    fn pace(&self, _account: &str) -> Pace {
        Pace { account_per_second: 1000.0, pair_burst: 100, pair_per_second: 10.0 }
    }

    /// There is nobody to ask: the channel works when we do.
    async fn probe(&self, account: &str) -> Result<(), String> {
        let known = self.sites.by_name.contains_key(account);
        known.then_some(()).ok_or_else(|| format!("webchat.sites has no site {account}"))
    }

    fn routes(&self, service: &mut ServiceConfig) {
        routes::configure(&self.sites, service);
    }
}
