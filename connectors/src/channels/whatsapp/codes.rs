//! The table of error codes (`whatsapp` §14): what to do, and one sentence for the agent.

use loket_protocol::delivery::SendClass;
use loket_protocol::delivery::SendClass::{Configuration, Final, PaceAccount, PacePair, Retry, RetryFew};

use crate::channel::SendError;
use crate::meta::GraphError;

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// A line of the table.
struct Line {
    first: i64,
    last: i64,
    class: SendClass,
    /// How long to wait at least, where the platform's page says so.
    wait_ms: Option<u64>,
    sentence: &'static str,
}

const fn line(code: i64, class: SendClass, sentence: &'static str) -> Line {
    Line { first: code, last: code, class, wait_ms: None, sentence }
}

const fn span(first: i64, last: i64, class: SendClass, sentence: &'static str) -> Line {
    Line { first, last, class, wait_ms: None, sentence }
}

const fn wait(code: i64, class: SendClass, wait_ms: u64, sentence: &'static str) -> Line {
    Line { first: code, last: code, class, wait_ms: Some(wait_ms), sentence }
}

const GROUPS: &str = "WhatsApp could not do this in the group.";
const PERMISSION: &str =
    "WhatsApp says that Loket lacks a permission; the operator must check the access token's permissions.";
const TEMPLATE_CALL: &str =
    "The values do not fit the template; check their number and form and send it again.";
const PAYMENT: &str = "WhatsApp has a problem with the business's payment method; the operator must mend it.";
const REGISTRATION: &str =
    "The number is not properly registered with WhatsApp; the operator must register it again.";
const PIN: &str =
    "The PIN of the number is wrong or was tried too often; the operator must wait and set it anew.";
const HISTORY: &str = "WhatsApp does not share the earlier conversations of this number.";

/// By code, ascending.
const TABLE: &[Line] = &[
    line(0, Configuration, "WhatsApp refused our access token; the operator must enter a new one."),
    line(1, RetryFew, "WhatsApp did not understand the request or has trouble of its own."),
    line(2, Retry, "WhatsApp is busy or down for the moment; it is tried again."),
    line(3, Configuration, PERMISSION),
    line(4, PaceAccount, "WhatsApp asks the whole app to slow down; it is sent a little later."),
    line(10, Configuration, PERMISSION),
    line(33, Configuration, "WhatsApp no longer knows this number; the operator must check its id."),
    line(100, Final, "WhatsApp refused something in this message as invalid; change it and send it again."),
    line(190, Configuration, "The access token expired or was revoked; the operator must enter a new one."),
    span(200, 299, Configuration, PERMISSION),
    line(
        368,
        Configuration,
        "WhatsApp restricted the account for breaking its rules; nothing is sent until it is lifted.",
    ),
    line(80007, PaceAccount, "WhatsApp asks this business account to slow down; it is sent a little later."),
    line(130_403, Final, "This customer is blocked on this number; unblock them before writing."),
    line(130_429, PaceAccount, "This number sends faster than WhatsApp allows; it is sent a little later."),
    line(
        130_472,
        Final,
        "WhatsApp withholds marketing from this customer for an experiment; use another kind of message or another channel.",
    ),
    line(130_497, Final, "This business may not write to customers in that country."),
    line(131_000, RetryFew, "Something went wrong at WhatsApp that it does not explain."),
    line(131_005, Configuration, PERMISSION),
    line(131_008, Final, "The message lacks something that WhatsApp requires."),
    line(
        131_009,
        Final,
        "A value in the message is not valid, or the message reacted to is too old or unknown.",
    ),
    line(131_016, Retry, "WhatsApp is not available for the moment; it is tried again."),
    line(131_020, Final, "The group has no other member, so nobody would read it."),
    line(131_021, Final, "The customer's number is the sending number itself."),
    line(
        131_026,
        Final,
        "It cannot be delivered: the customer is not on WhatsApp, uses an old app or blocked us; use another channel.",
    ),
    line(
        131_030,
        Configuration,
        "The sending number is a test number, and this customer is not on its list.",
    ),
    line(131_031, Configuration, "WhatsApp locked the account; the operator must unlock it."),
    line(131_037, Configuration, "The number needs an approved display name before it may send."),
    line(131_041, Final, "WhatsApp does not know this group."),
    line(131_042, Configuration, PAYMENT),
    line(131_044, Configuration, PAYMENT),
    line(131_045, Configuration, REGISTRATION),
    line(
        131_047,
        Final,
        "The last message of the customer is more than 24 hours ago: send a template, or wait for them to write.",
    ),
    wait(
        131_048,
        PaceAccount,
        HOUR_MS,
        "WhatsApp limits this number because of complaints; it sends again later.",
    ),
    line(
        131_049,
        Final,
        "WhatsApp withholds marketing from this customer for now; not again within 24 hours.",
    ),
    line(131_050, Final, "This customer asked for no more marketing messages."),
    line(131_051, Final, "WhatsApp does not take this kind of message."),
    line(131_052, Final, "WhatsApp could not download the customer's file; ask them to send it again."),
    line(131_053, Final, "WhatsApp could not use the file; check its type and size and send it again."),
    line(131_055, Final, "Only marketing templates can be sent this way."),
    line(131_056, PacePair, "Too many messages to this customer in a short time; it is sent a little later."),
    wait(
        131_057,
        Retry,
        MINUTE_MS,
        "The number is being upgraded by WhatsApp; it is tried again in a minute.",
    ),
    line(131_059, Final, GROUPS),
    line(
        131_062,
        Final,
        "This cannot be sent to a hidden number; ask the customer for their number, or use another kind of message.",
    ),
    line(131_063, Final, "Marketing templates are switched off for this account."),
    wait(
        131_064,
        PaceAccount,
        HOUR_MS,
        "WhatsApp limits this account because templates were in the wrong category; it sends again later.",
    ),
    span(131_201, 131_215, Final, GROUPS),
    line(132_000, Final, TEMPLATE_CALL),
    line(132_001, Final, "There is no approved template of that name in that language."),
    line(132_005, Final, "The template becomes too long with these values; shorten them."),
    line(132_007, Final, "The content of the template breaks WhatsApp's rules."),
    line(132_008, Final, TEMPLATE_CALL),
    line(132_012, Final, TEMPLATE_CALL),
    line(132_015, Final, "The template is paused because of its quality; use another one or wait."),
    line(132_016, Final, "The template is disabled for good; use another one."),
    line(132_018, Final, TEMPLATE_CALL),
    line(132_068, Final, "The flow in this message is blocked."),
    line(132_069, Final, "The flow in this message is limited by WhatsApp for now."),
    line(133_000, Configuration, REGISTRATION),
    line(133_004, Retry, "WhatsApp is not available for the moment; it is tried again."),
    span(133_005, 133_009, Configuration, PIN),
    line(133_010, Configuration, REGISTRATION),
    wait(
        133_015,
        Retry,
        5 * MINUTE_MS,
        "The number was deleted a moment ago; it is tried again in five minutes.",
    ),
    line(133_016, Configuration, "The number was registered too often; WhatsApp blocks it for a while."),
    line(
        134_011,
        Configuration,
        "The payment terms of WhatsApp are not accepted; the operator must accept them.",
    ),
    line(134_100, Final, "Only marketing templates can be sent this way."),
    wait(
        134_101,
        Retry,
        10 * MINUTE_MS,
        "WhatsApp is still preparing the template; it is tried again in ten minutes.",
    ),
    line(134_102, Final, "The template is not available."),
    line(135_000, Final, "WhatsApp refused something in this message without saying what."),
    span(136_000, 136_999, Final, "WhatsApp refused the message with a code that it does not explain."),
    line(137_000, Final, "The customer's security key changed; check that it is still them before writing."),
    span(2_593_107, 2_593_109, Final, HISTORY),
];

const UNLISTED_PASSING: &str =
    "WhatsApp has trouble with a code that Loket does not know; it is tried again.";
const UNLISTED_FINAL: &str = "WhatsApp refused the message with a code that Loket does not know.";

/// What an error of Graph means for a send. A known code outranks every hint; an unknown one is
/// tried again only when Graph says that it passes.
pub(super) fn send_error(error: &GraphError) -> SendError {
    let Some(line) = line_of(error.code) else {
        let class = error.unlisted();
        let sentence = if class == Final { UNLISTED_FINAL } else { UNLISTED_PASSING };
        return error.not_sent(class, sentence);
    };
    let retry_after_ms = error.retry_after_ms.max(line.wait_ms);
    GraphError { retry_after_ms, ..error.clone() }.not_sent(line.class, line.sentence)
}

/// The sentence for a code that a status brings, after the message was taken. Nothing is tried again
/// then, so a sentence that says so is not given.
pub(super) fn sentence(code: i64) -> Option<&'static str> {
    let line = line_of(code)?;
    matches!(line.class, Final | Configuration).then_some(line.sentence)
}

fn line_of(code: i64) -> Option<&'static Line> {
    TABLE.iter().find(|line| (line.first..=line.last).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i64) -> GraphError {
        GraphError { status: 400, code, subcode: None, is_transient: false, retry_after_ms: None }
    }

    fn class_of(error: &GraphError) -> (SendClass, Option<u64>) {
        match send_error(error) {
            SendError::NotSent { class, retry_after_ms, .. } => (class, retry_after_ms),
            SendError::Unconfirmed(why) => panic!("{why}"),
        }
    }

    #[test]
    fn the_table_ascends_without_overlap_and_every_sentence_is_one() {
        assert!(TABLE.windows(2).all(|pair| pair[0].last < pair[1].first));
        for line in TABLE {
            assert!(line.first <= line.last);
            assert!(line.sentence.ends_with('.') && line.sentence.len() > 20, "{}", line.sentence);
        }
    }

    #[test]
    fn codes_are_sorted_as_the_platform_says() {
        let expected = [
            (Retry, vec![2, 131_016, 131_057, 133_004, 133_015, 134_101]),
            (RetryFew, vec![1, 131_000]),
            (PaceAccount, vec![4, 80007, 130_429, 131_048, 131_064]),
            (PacePair, vec![131_056]),
            (
                Configuration,
                vec![
                    0, 3, 10, 33, 190, 200, 250, 299, 368, 131_005, 131_030, 131_031, 131_037, 131_042,
                    131_044, 131_045, 133_000, 133_005, 133_006, 133_008, 133_009, 133_010, 133_016, 134_011,
                ],
            ),
            (
                Final,
                vec![
                    100, 130_403, 130_472, 130_497, 131_008, 131_009, 131_020, 131_021, 131_026, 131_041,
                    131_047, 131_049, 131_050, 131_051, 131_052, 131_053, 131_055, 131_059, 131_062, 131_063,
                    131_201, 131_215, 132_000, 132_001, 132_005, 132_007, 132_008, 132_012, 132_015, 132_016,
                    132_018, 132_068, 132_069, 134_100, 134_102, 135_000, 136_025, 137_000, 2_593_109,
                    99_999,
                ],
            ),
        ];
        for (class, codes) in expected {
            for code in codes {
                assert_eq!(class_of(&error(code)).0, class, "{code}");
            }
        }
    }

    #[test]
    fn hints_count_only_where_the_table_is_silent() {
        let passing = GraphError { is_transient: true, ..error(99_999) };
        assert_eq!(class_of(&passing), (Retry, None));
        assert_eq!(class_of(&GraphError { status: 500, ..error(99_999) }), (Retry, None));
        assert_eq!(class_of(&GraphError { is_transient: true, ..error(131_047) }), (Final, None));
    }

    #[test]
    fn a_failed_status_is_explained_unless_the_sentence_promises_a_repeat() {
        assert!(sentence(131_047).is_some_and(|sentence| sentence.contains("template")));
        assert!(sentence(190).is_some());
        for code in [131_016, 131_056, 130_429, 99_999] {
            assert_eq!(sentence(code), None, "{code}");
        }
    }

    #[test]
    fn the_longer_wait_counts() {
        let asked = |retry_after_ms| GraphError { retry_after_ms, ..error(131_057) };
        assert_eq!(class_of(&asked(None)), (Retry, Some(60_000)));
        assert_eq!(class_of(&asked(Some(5))), (Retry, Some(60_000)));
        assert_eq!(class_of(&asked(Some(90_000))), (Retry, Some(90_000)));
    }
}
