//! The platform's error codes: what to do and what to tell the agent (`messenger` §12). Logic is
//! based on code and sub-code only.

use loket_protocol::delivery::SendClass::{self, Configuration, Final, PaceAccount, Retry, RetryFew};

use crate::channel::SendError;
use crate::meta::GraphError;

/// The answer that says nothing: the message may have been sent (`messenger` §12).
const MAYBE_SENT: (i64, i64) = (1, 1_357_046);
/// How long a temporarily restricted Page rests when the platform names no time.
const RESTRICTED_PAUSE_MS: u64 = 60 * 60 * 1000;
/// The restriction that takes hours.
const RESTRICTED: (i64, i64) = (10, 1_893_063);

/// Which sub-codes a row is about.
#[derive(Clone, Copy)]
enum Sub {
    /// This one.
    Is(i64),
    /// None at all: with a sub-code that is not listed the code alone says too little.
    Absent,
    /// Any that is not listed before.
    Any,
    /// The number is unique and comes as code or as sub-code.
    Either,
}

use Sub::{Absent, Any, Either, Is};

type Row = (i64, Sub, SendClass, &'static str);

const OUTSIDE_WINDOW: &str = "The reply window is closed: a person may still answer within 7 days, a utility template always may; otherwise wait until the customer writes.";
const NOT_AVAILABLE: &str = "The customer cannot be reached on Messenger: they blocked the Page, left, or the reply window is closed.";
const SLOW_DOWN: &str = "The platform asks to slow down; it is tried again later.";
const NO_PERMISSION: &str =
    "The app lacks a permission for this Page: grant it in the app's settings and renew the token.";
const NO_SUCH_USER: &str = "The platform knows no such person on this Page; the address is no longer valid.";
const NOT_IN_CONTROL: &str =
    "Another app or the Page inbox is in control of this conversation: take control, then send again.";
const MARKETING_STOPPED: &str = "The customer has stopped marketing messages, or the Page may not send them.";
const TAGGED_TOO_OFTEN: &str =
    "Too many messages of this kind were sent to the customer; wait until they write.";
const NO_PROFILE: &str = "The platform gives no profile of this person.";

/// The most special rows of a code come first.
const ROWS: &[Row] = &[
    (2_018_171, Either, Final, NOT_IN_CONTROL),
    (2_018_300, Either, Final, NOT_IN_CONTROL),
    (
        2_018_321,
        Either,
        Final,
        "An automated flow of the Page is running in this conversation: take control, then send again.",
    ),
    (2_018_218, Either, Final, NO_PROFILE),
    (2_018_247, Either, Final, NO_PROFILE),
    (
        1,
        Any,
        RetryFew,
        "The platform failed for an unknown reason, often a missing permission; it is tried again.",
    ),
    (2, Is(2_018_344), Configuration, "The Page must accept the platform's contact terms in its settings."),
    (
        2,
        Any,
        RetryFew,
        "The platform is disturbed for a moment, or the customer blocked the Page; it is tried again.",
    ),
    (
        4,
        Is(2_018_354),
        PaceAccount,
        "Marketing messages follow each other too fast; it is tried again later.",
    ),
    (4, Any, PaceAccount, SLOW_DOWN),
    (
        9,
        Is(2_018_352),
        PaceAccount,
        "Marketing messages follow each other too fast; it is tried again later.",
    ),
    (10, Is(2_018_278), Final, OUTSIDE_WINDOW),
    (10, Is(2_534_022), Final, OUTSIDE_WINDOW),
    (10, Is(2_018_065), Final, OUTSIDE_WINDOW),
    (10, Is(2_018_108), Final, "The customer cannot receive messages now; try again later by hand."),
    (10, Is(1_893_063), PaceAccount, "The platform has restricted the Page for some hours; sending rests."),
    (10, Is(1_893_015), Final, MARKETING_STOPPED),
    (10, Is(1_404_170), Final, MARKETING_STOPPED),
    (
        10,
        Is(2_018_336),
        Final,
        "The platform refused the message to protect the conversation; wait until the customer writes.",
    ),
    (10, Absent, Configuration, NO_PERMISSION),
    (32, Any, PaceAccount, SLOW_DOWN),
    (
        100,
        Is(33),
        Configuration,
        "The Page is unknown to the platform or the token does not reach it: check page_id and access_token.",
    ),
    (100, Is(2_018_001), Final, NO_SUCH_USER),
    (100, Is(2_534_014), Final, NO_SUCH_USER),
    (
        100,
        Is(2_018_008),
        RetryFew,
        "The platform could not fetch the attachment; send it as a link if it fails again.",
    ),
    (
        100,
        Is(2_018_294),
        RetryFew,
        "The platform took too long over the video; send it as a link if it fails again.",
    ),
    (100, Is(2_018_047), Final, "The attachment is not of the type it claims to be; send it as a link."),
    (100, Is(2_018_109), Final, "The attachment is too large for Messenger; send it as a link."),
    (
        100,
        Is(2_018_074),
        Final,
        "The platform does not know this attachment id, or it belongs to another Page; attach the file again.",
    ),
    (100, Is(2_018_014), Final, "A sign and a message were sent as one, which Messenger does not take."),
    (
        100,
        Is(2_018_164),
        Configuration,
        "The app id is wrong: check messenger.app_id and whose token this is.",
    ),
    (100, Any, Final, "The platform refused the message as invalid; change it or send it in another form."),
    (
        190,
        Any,
        Configuration,
        "The Page's token is invalid or expired: make a new one and enter it as access_token.",
    ),
    (200, Is(1_545_041), Final, NOT_AVAILABLE),
    (
        200,
        Is(2_534_041),
        Configuration,
        "Access to messages is switched off in the Instagram account: allow it there.",
    ),
    (
        200,
        Is(2_018_028),
        Configuration,
        "The app is not live, or the permission is not granted: finish the app review.",
    ),
    (200, Absent, Configuration, NO_PERMISSION),
    (
        368,
        Any,
        Configuration,
        "The platform blocks the Page for abuse: nothing is sent until it is released.",
    ),
    (551, Any, Final, NOT_AVAILABLE),
    (613, Is(2_018_338), Final, TAGGED_TOO_OFTEN),
    (613, Is(1_893_016), Final, TAGGED_TOO_OFTEN),
    (613, Any, PaceAccount, SLOW_DOWN),
    (1200, Any, Retry, "The platform could not send for a moment; it is tried again."),
    (
        2022,
        Any,
        Configuration,
        "The platform has disabled sending after a violation of its policy: see the Page's support inbox.",
    ),
    (9_000_001, Any, Final, "The message that is answered was deleted; send without answering it."),
];

fn row(error: &GraphError) -> Option<&'static Row> {
    ROWS.iter().find(|(code, sub, _, _)| match sub {
        Is(subcode) => error.code == *code && error.subcode == Some(*subcode),
        Absent => error.code == *code && error.subcode.is_none(),
        Any => error.code == *code,
        Either => error.code == *code || error.subcode == Some(*code),
    })
}

/// What a refusal means for the send.
pub(super) fn send_error(error: &GraphError) -> SendError {
    let pair = error.subcode.map(|subcode| (error.code, subcode));
    if pair == Some(MAYBE_SENT) {
        return SendError::Unconfirmed(
            "the platform could not say whether it was sent (1/1357046)".to_owned(),
        );
    }
    let class = row(error).map_or_else(|| error.unlisted(), |(_, _, class, _)| *class);
    let patient = GraphError {
        retry_after_ms: error
            .retry_after_ms
            .or_else(|| (pair == Some(RESTRICTED)).then_some(RESTRICTED_PAUSE_MS)),
        ..error.clone()
    };
    patient.not_sent(class, sentence(error))
}

/// One sentence for people.
pub(super) fn sentence(error: &GraphError) -> String {
    if let Some((_, _, _, sentence)) = row(error) {
        return (*sentence).to_owned();
    }
    let subcode = error.subcode.map(|subcode| format!("/{subcode}")).unwrap_or_default();
    format!("The platform refused the message with error {}{subcode}, which is not known here.", error.code)
}
