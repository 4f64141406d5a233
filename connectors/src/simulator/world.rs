//! The state of both platforms in memory: who there is, what stands where, what was asked. All of it
//! is bounded, and a reset forgets it. What a change sets off (callbacks, later steps) is collected
//! here and carried out by the simulator's own tasks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loket_backbone::clock::Clock;
use loket_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::faults::{Faults, Switchboard};
use super::media::{BYTES_MAX, Media};
use super::phone::{Author, Bubble, Chat, Customer, File, Platform, Progress};
use super::ring::Ring;
use super::settings::{NewCustomer, Number, Page, Rules, Settings};

/// How many customers there may be.
pub(crate) const CUSTOMERS_MAX: usize = 20_000;
/// How many messages stand on all phones together; the oldest go first.
pub(crate) const BUBBLES_MAX: usize = 100_000;
/// How many requests to Graph are remembered.
pub(crate) const REQUESTS_MAX: usize = 50_000;
/// How many lines the log keeps.
pub(crate) const LOG_LINES_MAX: usize = 10_000;
/// How many saved attachments of Messenger are remembered.
const ATTACHMENTS_MAX: usize = 10_000;
/// The longest body that is remembered with a request.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What an app usually subscribes to (`messenger` §3).
const FIELDS: [&str; 13] = [
    "messages",
    "message_echoes",
    "message_edits",
    "message_deliveries",
    "message_reads",
    "message_reactions",
    "messaging_postbacks",
    "messaging_referrals",
    "messaging_optins",
    "messaging_handovers",
    "standby",
    "messaging_policy_enforcement",
    "messaging_account_linking",
];

/// What a callback tells of: faults treat them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Something that the customer did.
    Message,
    /// A status or receipt.
    Status,
    /// A message of the business, told back.
    Echo,
    /// A notice about a customer or account.
    Notice,
}

/// One update on its way to the business.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) account: String,
    pub(crate) entry: Value,
    /// Not before so much later.
    pub(crate) delay: Duration,
}

/// A step that a message of the business takes later.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) message_id: String,
    pub(crate) to: Progress,
    pub(crate) delay: Duration,
}

/// A request that Graph got: the oracle for what is "at the provider".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) method: String,
    /// Without its query, which holds tokens.
    pub(crate) path: String,
    pub(crate) platform: Option<Platform>,
    pub(crate) account: Option<String>,
    /// `send`, `signal`, `media`, `look_up`, `manage`.
    pub(crate) kind: &'static str,
    pub(crate) recipient: Option<String>,
    /// `biz_opaque_callback_data` or `metadata`.
    pub(crate) outbox_id: Option<String>,
    /// The platform took it: there is one more copy at the provider.
    pub(crate) is_accepted: bool,
    pub(crate) message_id: Option<String>,
    /// The HTTP status that was answered; none when the connection was dropped.
    pub(crate) answered: Option<u16>,
    /// The code of the error that was answered.
    pub(crate) code: Option<i64>,
    /// What the switchboard did to it.
    pub(crate) fault: Option<&'static str>,
    pub(crate) body: Value,
}

/// A line of the log: ids and figures, no texts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    /// `callback`, `callback_refused`, `callback_dropped`, `graph`, `fault`, `subscription`.
    pub(crate) kind: &'static str,
    pub(crate) account: String,
    pub(crate) detail: String,
}

/// Refused by the simulator's own API: status and sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) http: u16,
    pub(crate) code: &'static str,
    pub(crate) sentence: String,
}

impl Complaint {
    pub(crate) fn new(http: u16, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { http, code, sentence: sentence.into() }
    }
}

/// A conversation: channel account and customer.
pub(crate) type ChatKey = (String, String);

/// Everything.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) settings: Arc<Settings>,
    /// Where others reach the simulator.
    pub(crate) base: String,
    pub(crate) rules: Rules,
    pub(crate) switchboard: Switchboard,
    pub(crate) media: Media,
    pub(crate) customers: BTreeMap<String, Customer>,
    handles: HashMap<(Platform, String), String>,
    pub(crate) chats: BTreeMap<ChatKey, Chat>,
    index: HashMap<String, ChatKey>,
    order: VecDeque<String>,
    pub(crate) attachments: BTreeMap<String, File>,
    pub(crate) requests: Ring<Request>,
    pub(crate) log: Ring<Line>,
    /// Messenger: the fields that the app is subscribed to, by Page; a Page that is missing sends nothing.
    pub(crate) subscriptions: BTreeMap<String, Vec<String>>,
    pub(crate) account_due: HashMap<String, Instant>,
    pub(crate) posts: Vec<Post>,
    pub(crate) steps: Vec<Step>,
    /// Goes up with each change that a page would show.
    pub(crate) version: u64,
    customers_made: u64,
}

impl World {
    pub(crate) fn new(settings: &Arc<Settings>, clock: Clock, base: String) -> Self {
        let mut world = Self {
            clock,
            base,
            rules: settings.rules.clone(),
            switchboard: Switchboard::new(Faults::default()),
            media: Media::new(BYTES_MAX),
            customers: BTreeMap::new(),
            handles: HashMap::new(),
            chats: BTreeMap::new(),
            index: HashMap::new(),
            order: VecDeque::new(),
            attachments: BTreeMap::new(),
            requests: Ring::new(REQUESTS_MAX),
            log: Ring::new(LOG_LINES_MAX),
            subscriptions: BTreeMap::new(),
            account_due: HashMap::new(),
            posts: Vec::new(),
            steps: Vec::new(),
            version: 1,
            customers_made: 0,
            settings: Arc::clone(settings),
        };
        for page in &settings.pages {
            world.subscriptions.insert(page.page_id.clone(), FIELDS.map(str::to_owned).to_vec());
        }
        world.people();
        world
    }

    /// Back to the start. The numbers of requests and log lines begin again; files are kept, as
    /// they are at the platform.
    pub(crate) fn reset(&mut self) {
        let settings = Arc::clone(&self.settings);
        let media = std::mem::replace(&mut self.media, Media::new(0));
        let version = self.version + 1;
        *self = Self { media, version, ..Self::new(&settings, self.clock.clone(), self.base.clone()) };
    }

    fn people(&mut self) {
        for new in self.settings.customers.clone() {
            if let Err(complaint) = self.add_customer(new) {
                tracing::warn!(reason = complaint.sentence, "a customer of the settings was left out");
            }
        }
    }

    pub(crate) fn number(&self, id: &str) -> Option<&Number> {
        self.settings.numbers.iter().find(|number| number.phone_number_id == id)
    }

    pub(crate) fn page(&self, id: &str) -> Option<&Page> {
        self.settings.pages.iter().find(|page| page.page_id == id)
    }

    /// One more line in the log.
    pub(crate) fn note(&mut self, kind: &'static str, account: &str, detail: impl Into<String>) {
        let (number, at) = (self.log.next_number(), self.clock.now());
        self.log.push(Line { number, at, kind, account: account.to_owned(), detail: detail.into() });
    }

    /// Remembers a request; answers its number, to complete it by.
    pub(crate) fn remember(&mut self, mut request: Request) -> u64 {
        let number = self.requests.next_number();
        request.number = number;
        let length = request.body.to_string().len();
        if length > BODY_BYTES_MAX {
            request.body = serde_json::json!({ "forgotten_bytes": length });
        }
        self.requests.push(request);
        number
    }

    // ---- customers

    /// Makes a customer; what is left out is invented.
    pub(crate) fn add_customer(&mut self, new: NewCustomer) -> Result<Customer, Complaint> {
        if self.customers.len() >= CUSTOMERS_MAX {
            return Err(Complaint::new(409, "full", format!("at most {CUSTOMERS_MAX} customers")));
        }
        let wish = if new.psid.is_some() { Platform::Messenger } else { Platform::Whatsapp };
        let platform = new.platform.unwrap_or(wish);
        let (psid, page) = match platform {
            Platform::Whatsapp => (None, None),
            Platform::Messenger => {
                let first = self.settings.pages.first().map(|page| page.page_id.clone());
                let page = new.page.or(first).filter(|id| self.page(id).is_some());
                let page = page.ok_or_else(|| Complaint::new(422, "no_page", "there is no such Page"))?;
                (Some(new.psid.unwrap_or_else(|| self.invent("730000000", 7))), Some(page))
            }
        };
        let is_whatsapp = platform == Platform::Whatsapp;
        let phone = new.phone.map(|phone| phone.trim_start_matches('+').to_owned());
        if phone
            .as_deref()
            .is_some_and(|phone| phone.is_empty() || !phone.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(Complaint::new(422, "bad_phone", "phone is digits, with or without a leading +"));
        }
        let phone = is_whatsapp.then(|| phone.unwrap_or_else(|| self.invent("316", 8)));
        let bsuid = is_whatsapp.then(|| new.bsuid.unwrap_or_else(|| self.invent("NL.", 20)));
        let id = new.id.unwrap_or_else(|| format!("customer-{}", self.customers_made + 1));
        self.customers_made += 1;
        let name = new.name.unwrap_or_else(|| format!("Customer {id}"));
        let customer = Customer {
            id,
            position: self.customers_made,
            platform,
            name,
            phone,
            bsuid,
            parent_bsuid: new.parent_bsuid.filter(|_| is_whatsapp),
            username: new.username.filter(|_| is_whatsapp),
            hides_phone: new.hides_phone,
            hides_profile: new.hides_profile,
            psid,
            page,
            is_online: true,
            reads_at_once: new.reads_at_once,
            shows_receipts: true,
            is_blocking: false,
            identity_hash: self.invent("", 12),
        };
        self.put_customer(customer)
    }

    fn put_customer(&mut self, customer: Customer) -> Result<Customer, Complaint> {
        let handles = Self::handles_of(&customer);
        let is_taken = self.customers.contains_key(&customer.id)
            || handles.iter().any(|handle| self.handles.contains_key(handle));
        if is_taken {
            return Err(Complaint::new(
                409,
                "taken",
                "a customer with that id, phone, BSUID or PSID is there",
            ));
        }
        for handle in handles {
            self.handles.insert(handle, customer.id.clone());
        }
        self.customers.insert(customer.id.clone(), customer.clone());
        self.version += 1;
        Ok(customer)
    }

    fn handles_of(customer: &Customer) -> Vec<(Platform, String)> {
        [&customer.phone, &customer.bsuid, &customer.parent_bsuid, &customer.psid]
            .into_iter()
            .flatten()
            .map(|handle| (customer.platform, handle.clone()))
            .collect()
    }

    /// Replaces a customer by one with other handles.
    pub(crate) fn change_customer(&mut self, customer: Customer) -> Result<Customer, Complaint> {
        let before = self.customers.remove(&customer.id);
        for handle in before.iter().flat_map(Self::handles_of) {
            self.handles.remove(&handle);
        }
        let changed = self.put_customer(customer);
        if let (Err(_), Some(before)) = (&changed, before) {
            self.put_customer(before)?;
        }
        changed
    }

    /// Random digits behind a prefix, not yet anybody's.
    fn invent(&self, prefix: &str, digits: u32) -> String {
        loop {
            let noise: String = (0..digits)
                .map(|_| char::from(b'0' + u8::try_from(loket_backbone::random::jitter_ms(9)).unwrap_or(0)))
                .collect();
            let handle = format!("{prefix}{noise}");
            let is_free = [Platform::Whatsapp, Platform::Messenger]
                .iter()
                .all(|platform| !self.handles.contains_key(&(*platform, handle.clone())));
            if is_free {
                return handle;
            }
        }
    }

    /// The customer with this phone number, BSUID or PSID.
    pub(crate) fn customer_by(&self, platform: Platform, handle: &str) -> Option<&Customer> {
        self.customers.get(self.handles.get(&(platform, handle.to_owned()))?)
    }

    /// The customer that a path of our own API names: by id or by any handle.
    pub(crate) fn customer(&self, name: &str) -> Result<&Customer, Complaint> {
        self.customers
            .get(name)
            .or_else(|| self.customer_by(Platform::Whatsapp, name))
            .or_else(|| self.customer_by(Platform::Messenger, name))
            .ok_or_else(|| Complaint::new(404, "unknown_customer", format!("there is no customer {name}")))
    }

    // ---- conversations

    pub(crate) fn chat(&mut self, account: &str, customer: &str) -> &mut Chat {
        self.chats.entry((account.to_owned(), customer.to_owned())).or_default()
    }

    /// All conversations of a customer, with their channel accounts.
    pub(crate) fn chats_of(&self, customer: &str) -> impl Iterator<Item = (&str, &Chat)> {
        let numbers = self.settings.numbers.iter().map(|number| number.phone_number_id.as_str());
        let pages = self.settings.pages.iter().map(|page| page.page_id.as_str());
        numbers.chain(pages).filter_map(move |account| {
            Some((account, self.chats.get(&(account.to_owned(), customer.to_owned()))?))
        })
    }

    /// Puts a message on the phone.
    pub(crate) fn put_bubble(&mut self, customer: &str, bubble: Bubble) {
        let key = (bubble.account.clone(), customer.to_owned());
        self.index.insert(bubble.id.clone(), key.clone());
        self.order.push_back(bubble.id.clone());
        self.chats.entry(key).or_default().bubbles.push_back(bubble);
        if self.order.len() > BUBBLES_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(key) = self.index.remove(&oldest)
            && let Some(chat) = self.chats.get_mut(&key)
        {
            chat.bubbles.retain(|bubble| bubble.id != oldest);
        }
        self.version += 1;
    }

    /// The conversation that a message is in.
    pub(crate) fn place_of(&self, message_id: &str) -> Option<&ChatKey> {
        self.index.get(message_id)
    }

    pub(crate) fn bubble(&self, message_id: &str) -> Option<&Bubble> {
        let chat = self.chats.get(self.place_of(message_id)?)?;
        chat.bubbles.iter().rev().find(|bubble| bubble.id == message_id)
    }

    /// Changes a message where it stands.
    pub(crate) fn with_bubble<T>(
        &mut self,
        message_id: &str,
        change: impl FnOnce(&mut Bubble) -> T,
    ) -> Option<T> {
        let key = self.index.get(message_id)?;
        let chat = self.chats.get_mut(key)?;
        let bubble = chat.bubbles.iter_mut().rev().find(|bubble| bubble.id == message_id)?;
        self.version += 1;
        Some(change(bubble))
    }

    /// Is the customer's own message among those of this account?
    pub(crate) fn is_inbound(&self, account: &str, message_id: &str) -> bool {
        self.place_of(message_id).is_some_and(|(own, _)| own == account)
            && self.bubble(message_id).is_some_and(|bubble| bubble.author == Author::Customer)
    }

    // ---- callbacks

    /// Sends an update to the business, with what the switchboard does to it.
    pub(crate) fn post(&mut self, platform: Platform, account: &str, what: What, entry: Value) {
        if platform == Platform::Messenger && !self.subscriptions.contains_key(account) {
            self.note("callback_dropped", account, "the app is not subscribed to this Page");
            return;
        }
        let fault = self.switchboard.strike_callback(platform, account, what);
        let (mut copies, mut delay) = (1, Duration::ZERO);
        if let Some(fault) = fault {
            if fault.swallows(what) {
                self.note("fault", account, format!("a callback was swallowed: {what:?}"));
                return;
            }
            copies += fault.duplicates;
            if fault.disorder {
                delay = Duration::from_millis(self.switchboard.below(DISORDER_MS_MAX));
            }
        }
        let post = Post { account: account.to_owned(), entry, delay };
        self.posts.extend(std::iter::repeat_n(post, usize::try_from(copies).unwrap_or(1)));
    }
}

/// How far callbacks may overtake each other.
const DISORDER_MS_MAX: u64 = 300;

impl World {
    /// Saves an attachment of Messenger for use again; the oldest go first.
    pub(crate) fn save_attachment(&mut self, file: File) -> String {
        let id = self.invent("18", 14);
        if self.attachments.len() >= ATTACHMENTS_MAX {
            self.attachments.pop_first();
        }
        self.attachments.insert(id.clone(), file);
        id
    }
}
