//! What the simulator is told at its start, and the rules of the platforms that it keeps.

use loket_backbone::secret::Secret;
use serde::{Deserialize, Serialize};

/// Everything `run` needs. The secrets here are invented ones: the simulator shows them to whoever
/// can reach its page, so it never gets those of a real app.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen, such as `127.0.0.1:8090`; port 0 takes a free one.
    pub listen: String,
    /// The address under which others reach it, for media addresses; `None` is `http://` and
    /// what it listens on.
    pub public_url: Option<String>,
    /// Where WhatsApp callbacks go, such as `http://127.0.0.1:8080/callbacks/whatsapp`.
    pub callback_whatsapp: String,
    /// Where Messenger callbacks go.
    pub callback_messenger: String,
    /// Signs WhatsApp callbacks and proves its calls.
    pub app_secret_whatsapp: Secret,
    /// Signs Messenger callbacks and proves its calls.
    pub app_secret_messenger: Secret,
    /// The business's WhatsApp numbers.
    pub numbers: Vec<Number>,
    /// The business's Pages.
    pub pages: Vec<Page>,
    /// Customers that are there from the start and after a reset.
    pub customers: Vec<NewCustomer>,
    /// The rules at the start and after a reset.
    pub rules: Rules,
    /// The demo shop; `None`: there is none.
    pub shop: Option<super::Shop>,
}

/// A WhatsApp number of the business.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The id in paths and callbacks.
    pub phone_number_id: String,
    /// The number as it is shown, digits with or without `+`.
    pub display: String,
    /// The business account that it belongs to.
    pub waba_id: String,
    /// The access token that sends for it.
    pub token: Secret,
}

/// A Page of the business.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The id in paths and callbacks.
    pub page_id: String,
    /// The Page access token.
    pub token: Secret,
    /// The app whose echoes are our own.
    pub app_id: String,
}

/// A customer to make. What is left out is invented.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewCustomer {
    /// `whatsapp` or `messenger`; left out: WhatsApp, unless there is a `psid`.
    pub platform: Option<super::phone::Platform>,
    /// How this simulator calls the customer.
    pub id: Option<String>,
    /// The profile name.
    pub name: Option<String>,
    /// WhatsApp: the phone number, digits.
    pub phone: Option<String>,
    /// WhatsApp: the business-scoped user id.
    pub bsuid: Option<String>,
    /// WhatsApp: the parent BSUID, if the portfolio has them.
    pub parent_bsuid: Option<String>,
    /// WhatsApp: the user name.
    pub username: Option<String>,
    /// WhatsApp: businesses see the BSUID only.
    pub hides_phone: bool,
    /// Messenger: the Page-scoped id.
    pub psid: Option<String>,
    /// Messenger: the Page; left out: the first.
    pub page: Option<String>,
    /// Messenger: made with a phone number, so there is no profile to look up (100/2018218).
    pub hides_profile: bool,
    /// Reads what comes at once; left out: as the rules say.
    pub reads_at_once: Option<bool>,
}

/// What happens to a WhatsApp message outside the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowRule {
    /// It is accepted and then fails (131047), as is usual.
    #[default]
    Status,
    /// It is refused at once (131047).
    Http,
    /// Windows never close, on both platforms.
    Off,
}

/// To whom the business may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipients {
    /// Only to customers that exist here; others fail (131026, 100/2018001).
    #[default]
    Known,
    /// To anybody: an unknown recipient becomes a customer.
    Anyone,
}

/// The rules of the platforms. The defaults are theirs, but for the delays, which are short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// From acceptance to `sent`, and to the echo of Messenger.
    pub sent_ms: u64,
    /// From `sent` to `delivered`, if the phone is on.
    pub delivered_ms: u64,
    /// From `delivered` to `read`, if the phone reads at once.
    pub read_ms: u64,
    /// Phones read what comes at once.
    pub reads_at_once: bool,
    /// What happens outside the window.
    pub window: WindowRule,
    /// To whom the business may write.
    pub recipients: Recipients,
    /// How long the window stays open.
    pub window_ms: u64,
    /// How many messages may go to one customer at once (131056); 0 is without limit.
    pub pair_burst: u32,
    /// And how many a second after that.
    pub pair_per_second: f64,
    /// How many messages a second a number may send (130429); 0 is without limit.
    pub number_per_second: u32,
    /// How many calls a second a Page may make (613); 0 is without limit.
    pub page_per_second: u32,
    /// Calls without `appsecret_proof` fail.
    pub requires_appsecret_proof: bool,
    /// How many WhatsApp callbacks are under way at once, per number.
    pub callbacks_at_once: usize,
    /// The same for Messenger, per Page: 1 keeps the order, as it normally does.
    pub page_callbacks_at_once: usize,
    /// How many updates one callback may hold.
    pub batch_max: usize,
    /// The first repeat of a callback comes at once; the second after this, each further one after
    /// twice as long.
    pub retry_ms: u64,
    /// The longest wait between two repeats.
    pub retry_ms_max: u64,
    /// When the platform stops repeating a callback.
    pub retry_for_ms: u64,
    /// After so long without a single 200 Messenger unsubscribes the app from the Page.
    pub unsubscribe_after_ms: u64,
    /// How long an address of a media file is valid.
    pub media_url_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        Self {
            sent_ms: 20,
            delivered_ms: 60,
            read_ms: 150,
            reads_at_once: false,
            window: WindowRule::Status,
            recipients: Recipients::Known,
            window_ms: DAY_MS,
            pair_burst: 45,
            pair_per_second: 1.0 / 6.0,
            number_per_second: 80,
            page_per_second: 300,
            requires_appsecret_proof: false,
            callbacks_at_once: 8,
            page_callbacks_at_once: 1,
            batch_max: 1,
            retry_ms: 100,
            retry_ms_max: 5_000,
            retry_for_ms: 7 * DAY_MS,
            unsubscribe_after_ms: 60 * 60 * 1000,
            media_url_ms: 5 * 60 * 1000,
        }
    }
}

/// The most callbacks under way at once for one account.
const CALLBACKS_AT_ONCE_MAX: usize = 256;
/// The most updates in one callback (`whatsapp` §4).
const BATCH_MAX: usize = 1_000;

impl Rules {
    /// What is wrong with these rules, in one sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        let at_once = 1..=CALLBACKS_AT_ONCE_MAX;
        if !at_once.contains(&self.callbacks_at_once) || !at_once.contains(&self.page_callbacks_at_once) {
            Some(format!("callbacks_at_once is from 1 to {CALLBACKS_AT_ONCE_MAX}"))
        } else if !(1..=BATCH_MAX).contains(&self.batch_max) {
            Some(format!("batch_max is from 1 to {BATCH_MAX}"))
        } else if !(self.pair_per_second.is_finite() && self.pair_per_second > 0.0) {
            Some("pair_per_second must be above 0; pair_burst 0 switches the limit off".to_owned())
        } else if self.retry_ms == 0 || self.retry_ms_max < self.retry_ms {
            Some("retry_ms must be above 0 and at most retry_ms_max".to_owned())
        } else {
            None
        }
    }
}
