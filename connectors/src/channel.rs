//! The trait that every channel keeps, with its promises in prose.

use actix_web::web::ServiceConfig;
use async_trait::async_trait;
use bytes::Bytes;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::channel::AccountSettings;
use loket_protocol::contact::Handle;
use loket_protocol::delivery::SendClass;
use loket_protocol::inbound::InboundEvent;
use loket_protocol::outbound::{OutboundMessage, Outcome};
use loket_protocol::problem::Problem;
use loket_protocol::time::Timestamp;

/// A provider's call, as it came: nothing has been parsed yet.
#[derive(Clone, Debug)]
pub struct Callback {
    /// All values of the header `X-Hub-Signature-256`; more than one is refused.
    pub signatures: Vec<String>,
    /// The body's own bytes: what was signed is what is parsed.
    pub body: Bytes,
    /// When it came.
    pub received_at: Timestamp,
}

/// What a callback came to.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// In document order.
    pub events: Vec<InboundEvent>,
    /// Parts that need a person.
    pub problems: Vec<Problem>,
}

/// A callback that is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The signature is missing, doubled, malformed or wrong: 401, nothing stored.
    #[error("the signature does not match the body")]
    Signature,
    /// The body is no JSON at all: 400. Asked after the signature.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The handshake's token is wrong: 403.
    #[error("the verify token is not the configured one")]
    VerifyToken,
    /// The handshake's challenge or mode is not what a provider sends: 400.
    #[error("the handshake is malformed: {0}")]
    Handshake(String),
}

/// A send that did not end in a provider id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It surely was not sent.
    #[error("not sent: {sentence}")]
    NotSent {
        /// What to do about it.
        class: SendClass,
        /// The provider's code.
        code: Option<i64>,
        /// Its sub-code.
        subcode: Option<i64>,
        /// Not before so many milliseconds.
        retry_after_ms: Option<u64>,
        /// For the agent and the operator, without the customer's words or addresses.
        sentence: String,
    },
    /// The request left and nobody can know.
    #[error("unconfirmed: {0}")]
    Unconfirmed(String),
}

impl From<SendError> for Outcome {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotSent { class: SendClass::Final, code, subcode, sentence, .. } => {
                Self::Failed { code, subcode, sentence }
            }
            SendError::NotSent { class, code, subcode, retry_after_ms, sentence } => {
                Self::NotSent { class, code, subcode, retry_after_ms, sentence }
            }
            SendError::Unconfirmed(why) => Self::Unconfirmed { why },
        }
    }
}

/// What a provider answered to a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its id of the message.
    pub external_id: String,
    /// Addresses of the recipient that the answer told.
    pub learnt: Vec<Handle>,
}

/// How fast an account may send (`whatsapp` §13, `messenger` §12).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Messages per second of the whole account.
    pub account_per_second: f64,
    /// How many may go to one recipient at once, borrowed from the future.
    pub pair_burst: u32,
    /// Messages per second to one recipient.
    pub pair_per_second: f64,
}

/// A provider, translated. A channel holds no state of record and knows no domain rules.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its configured accounts and what can be done with them.
    fn accounts(&self) -> Vec<AccountSettings>;

    /// The handshake by which a provider checks the address (`whatsapp` §2): mode, token and
    /// challenge as given; answers the challenge to echo. The token is compared in constant time.
    fn handshake(&self, mode: &str, token: &str, challenge: &str) -> Result<String, Rejected>;

    /// Is the callback the provider's? Over the raw bytes, full length, in constant time.
    fn authenticate(&self, callback: &Callback) -> Result<(), Rejected>;

    /// Bytes to events and problems: pure, total, no clock (the callback brings its own time) and
    /// no state. A part that cannot be read becomes a problem and its neighbours become events.
    fn receive(&self, callback: &Callback) -> Result<Received, Rejected>;

    /// Sends one provider message, once. It does not retry, does not pace and does not store.
    async fn send(&self, message: &OutboundMessage) -> Result<Taken, SendError>;

    /// Passes on a read mark or typing; best effort.
    async fn signal(&self, signal: &Signal) -> SignalReply;

    /// How fast an account may send.
    fn pace(&self, account: &str) -> Pace;

    /// Asks the provider whether the account works, for `loket doctor` and channel health. The
    /// error is one sentence that says what is wrong and how to mend it.
    async fn probe(&self, account: &str) -> Result<(), String>;

    /// Whether providers call it at `/callbacks/{channel}`; otherwise that path is unknown.
    fn takes_callbacks(&self) -> bool {
        true
    }

    /// Routes beyond `/callbacks/{channel}`; only web chat needs any.
    fn routes(&self, _service: &mut ServiceConfig) {}
}
