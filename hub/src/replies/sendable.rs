//! What a conversation takes now, and why not more. One decision for both doors: `reply` refuses by it,
//! and `GET …/sendability` tells it beforehand.

use loket_protocol::channel::Capabilities;
use loket_protocol::time::Timestamp;

use super::check::split;
use crate::requests::NewReply;
use crate::sendability::MaySend;

/// Why a conversation does not take this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Stable code.
    pub(crate) code: &'static str,
    /// What is wrong and what to do.
    pub(crate) sentence: String,
}

/// A conversation that might take a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipient<'a> {
    /// The channel, for the sentence.
    pub(crate) channel: &'a str,
    /// What it can do; `None` when the channel account is not configured any more.
    pub(crate) capabilities: Option<&'a Capabilities>,
    /// It has an address to send to.
    pub(crate) has_address: bool,
    /// Since when its reply window runs.
    pub(crate) window_opened_at: Option<Timestamp>,
}

/// What a conversation takes from who asks, whatever is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) may_send: MaySend,
    /// Until when that holds; `None` while nothing ends it.
    pub(crate) until: Option<Timestamp>,
    /// Why it is not everything.
    pub(crate) why: Option<Refusal>,
}

/// What this conversation takes now.
pub(crate) fn standing(to: &Recipient<'_>, by_person: bool, now: Timestamp) -> Standing {
    let channel = to.channel;
    let nothing = |code, sentence: String| Standing {
        may_send: MaySend::Nothing,
        until: None,
        why: Some(Refusal { code, sentence }),
    };
    let Some(can) = to.capabilities else {
        return nothing("channel_gone", format!("The channel account {channel} is not configured any more."));
    };
    if !to.has_address {
        return nothing("no_address", format!("There is no address on {channel} that still holds."));
    }
    let Some(window_ms) = can.window_ms else {
        return Standing { may_send: MaySend::Anything, until: None, why: None };
    };
    let open_for = |ms: i64| Some(to.window_opened_at?.plus_millis(ms)).filter(|closes_at| now < *closes_at);
    if let Some(closes_at) = open_for(window_ms) {
        return Standing { may_send: MaySend::Anything, until: Some(closes_at), why: None };
    }
    let closed = |may_send, until, instead: &str| Standing {
        may_send,
        until,
        why: Some(Refusal {
            code: "window_closed",
            sentence: format!("The reply window on {channel} is closed: {instead}."),
        }),
    };
    if let Some(until) = can.human_window_ms.filter(|_| by_person).and_then(open_for) {
        return closed(MaySend::HumanAgent, Some(until), "only what a person writes may still be sent");
    }
    if can.takes("template") {
        let instead = "send a template, or wait until the customer writes";
        return closed(MaySend::Template, None, instead);
    }
    closed(MaySend::Nothing, None, "wait until the customer writes")
}

/// Does this conversation take this, now? `None`: it does.
pub(crate) fn refusal(
    to: &Recipient<'_>,
    new: &NewReply,
    by_person: bool,
    now: Timestamp,
) -> Option<Refusal> {
    let channel = to.channel;
    let no = |code, sentence: String| Some(Refusal { code, sentence });
    let Standing { may_send, why, .. } = standing(to, by_person, now);
    let can = match (to.capabilities, may_send) {
        (Some(can), MaySend::Anything | MaySend::HumanAgent | MaySend::Template) => can,
        (Some(can), MaySend::Nothing) if to.has_address => can,
        _ => return why,
    };
    let reaction = new.content.kind == "reaction";
    if reaction && !can.reactions {
        return no("channel_cannot", format!("{channel} takes no reactions; write an answer instead."));
    }
    for (content, _) in split(&new.content, &new.attachments, can) {
        if !reaction && !can.takes(&content.kind) {
            let instead = can.content_types.join(", ");
            return no(
                "channel_cannot",
                format!("{channel} does not take messages of type {}; it takes {instead}.", content.kind),
            );
        }
    }
    let chars = new.content.text.as_deref().map_or(0, |text| text.chars().count());
    if chars > can.text_chars_max {
        return no(
            "text_too_long",
            format!(
                "The text has {chars} characters and {channel} takes {}; shorten it.",
                can.text_chars_max
            ),
        );
    }
    match may_send {
        MaySend::Anything | MaySend::HumanAgent => None,
        MaySend::Template if new.content.kind == "template" => None,
        MaySend::Template | MaySend::Nothing => why,
    }
}

#[cfg(test)]
mod tests {
    use loket_protocol::message::{Attachment, Content};

    use super::*;
    use crate::requests::Target;

    const DAY: i64 = 86_400_000;

    fn can() -> Capabilities {
        Capabilities {
            window_ms: Some(DAY),
            human_window_ms: Some(7 * DAY),
            reads_the_thread: false,
            text_chars_max: 10,
            content_types: vec!["text".into(), "image".into()],
            captions: vec!["image".into()],
            caption_chars_max: 10,
            reactions: false,
        }
    }

    fn reply(content: Content, attachments: Vec<Attachment>) -> NewReply {
        NewReply {
            content,
            attachments,
            to: Target::Auto,
            reply_to: None,
            client_message_id: None,
            epoch: None,
        }
    }

    fn picture(name: &str) -> Attachment {
        let url = Some(format!("https://shop.example/{name}.png"));
        Attachment { kind: "image".to_owned(), url, ..Attachment::default() }
    }

    fn of_kind(kind: &str) -> Content {
        Content { kind: kind.to_owned(), ..Content::default() }
    }

    fn code(to: &Recipient<'_>, new: &NewReply, by_person: bool, at: i64) -> Option<&'static str> {
        refusal(to, new, by_person, Timestamp::from_millis(at)).map(|refusal| refusal.code)
    }

    #[test]
    fn a_conversation_takes_what_its_channel_takes() {
        let can = can();
        let to = Recipient {
            channel: "messenger:1",
            capabilities: Some(&can),
            has_address: true,
            window_opened_at: Some(Timestamp::from_millis(1)),
        };
        let dag = reply(Content::text("Dag!"), vec![]);
        assert_eq!(code(&to, &dag, true, 2), None);
        assert_eq!(code(&Recipient { capabilities: None, ..to }, &dag, true, 2), Some("channel_gone"));
        assert_eq!(code(&Recipient { has_address: false, ..to }, &dag, true, 2), Some("no_address"));
        let mute = Capabilities { content_types: vec!["image".into()], captions: Vec::new(), ..can.clone() };
        let caption = reply(Content { kind: "image".into(), ..Content::text("Kijk") }, vec![picture("a")]);
        assert_eq!(code(&to, &caption, true, 2), None);
        let without_texts = Recipient { capabilities: Some(&mute), ..to };
        assert_eq!(code(&without_texts, &caption, true, 2), Some("channel_cannot"), "not even in front");
        let list = reply(Content { kind: "list".into(), ..Content::text("x") }, vec![]);
        assert_eq!(code(&to, &list, true, 2), Some("channel_cannot"));
        assert_eq!(code(&to, &reply(of_kind("reaction"), vec![]), true, 2), Some("channel_cannot"));
        let long = reply(Content::text("12345678901"), vec![]);
        assert_eq!(code(&to, &long, true, 2), Some("text_too_long"));
        // Characters count, not bytes.
        assert_eq!(code(&to, &reply(Content::text("éééééééééé"), vec![]), true, 2), None);
    }

    #[test]
    fn a_window_is_longer_for_a_person_and_never_opens_by_itself() {
        let can = can();
        let opened = Some(Timestamp::from_millis(1_000));
        let dag = reply(Content::text("Dag!"), vec![]);
        let to = Recipient {
            channel: "messenger:1",
            capabilities: Some(&can),
            has_address: true,
            window_opened_at: opened,
        };
        assert_eq!(code(&to, &dag, false, 999 + DAY), None);
        assert_eq!(code(&to, &dag, false, 1_000 + DAY), Some("window_closed"));
        assert_eq!(code(&to, &dag, true, 1_000 + DAY), None);
        assert_eq!(code(&to, &dag, true, 1_000 + 7 * DAY), Some("window_closed"));
        let never = Recipient { window_opened_at: None, ..to };
        assert_eq!(code(&never, &dag, true, 2), Some("window_closed"));
        let mut types = can.content_types.clone();
        types.push("template".into());
        let more = Capabilities { content_types: types, ..can.clone() };
        let template = reply(of_kind("template"), vec![]);
        assert_eq!(code(&Recipient { capabilities: Some(&more), ..to }, &template, false, 9 * DAY), None);
        let always = Capabilities { window_ms: None, ..can.clone() };
        let to = Recipient { capabilities: Some(&always), ..to };
        assert_eq!(code(&to, &dag, false, 900 * DAY), None);
    }

    #[test]
    fn what_may_be_sent_is_told_with_its_end() {
        let can = can();
        let opened = Timestamp::from_millis(1_000);
        let to = Recipient {
            channel: "messenger:1",
            capabilities: Some(&can),
            has_address: true,
            window_opened_at: Some(opened),
        };
        let at = |to: &Recipient<'_>, by_person, ms: i64| {
            let told = standing(to, by_person, Timestamp::from_millis(ms));
            (told.may_send, told.until.map(Timestamp::as_millis), told.why.map(|why| why.code))
        };
        assert_eq!(at(&to, true, 999 + DAY), (MaySend::Anything, Some(1_000 + DAY), None));
        let closed = Some("window_closed");
        assert_eq!(at(&to, true, 1_000 + DAY), (MaySend::HumanAgent, Some(1_000 + 7 * DAY), closed));
        assert_eq!(at(&to, false, 1_000 + DAY), (MaySend::Nothing, None, closed));
        assert_eq!(at(&to, true, 1_000 + 7 * DAY), (MaySend::Nothing, None, closed));
        let more = Capabilities { content_types: vec!["template".into()], ..can.clone() };
        let templates = Recipient { capabilities: Some(&more), ..to };
        assert_eq!(at(&templates, false, 1_000 + DAY), (MaySend::Template, None, closed));
        let always = Capabilities { window_ms: None, ..can.clone() };
        let chat = Recipient { capabilities: Some(&always), window_opened_at: None, ..to };
        assert_eq!(at(&chat, false, 900 * DAY), (MaySend::Anything, None, None));
        let gone = Recipient { capabilities: None, ..to };
        assert_eq!(at(&gone, true, 2), (MaySend::Nothing, None, Some("channel_gone")));
    }
}
