//! Contacts that are one person: merges, what suggests them, and addresses that prove it.

use serde_json::Value;

use super::{always, anything, id, list, names, object, or_null, page, reference, string, time, yes_or_no};

/// Every schema of an answer about them.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Merge",
            object(
                "Two contacts that were joined. Both old ids lead to the survivor until it is undone.",
                vec![
                    always("id", id("mrg_", "The merge.")),
                    always("contact_id", id("con_", "The contact that survives.")),
                    always("thread_id", id("thr_", "Their thread, which stands for both.")),
                    always("merged_contact_id", id("con_", "The contact that was merged into them.")),
                    always("merged_thread_id", id("thr_", "That one's own thread.")),
                    always(
                        "proof",
                        names(
                            &["link_code", "platform", "agent"],
                            "A code carried over, the platform's word, or an agent's decision.",
                        ),
                    ),
                    always("evidence", anything("What the proof rests on.")),
                    always("by", reference("Author")),
                    always("why", or_null(string("Why, in the words of who did it."))),
                    always("at", time("When.")),
                    always("undone_at", or_null(time("Since when it no longer holds."))),
                    always("undone_by", or_null(reference("Author"))),
                    always("undone_why", or_null(string("Why it was taken back."))),
                ],
            ),
        ),
        ("MergePage", page("Merge")),
        (
            "Claim",
            object(
                "Something that somebody said of themselves and nobody has proven.",
                vec![
                    always("kind", names(&["name", "email", "phone"], "What it is.")),
                    always("value", string("In the one spelling that is compared.")),
                    always("at", time("When it was said.")),
                ],
            ),
        ),
        (
            "Evidence",
            object(
                "A value that two contacts have in common.",
                vec![
                    always("kind", names(&["name", "email", "phone"], "What it is.")),
                    always("value", string("The value.")),
                    always("proven_here", yes_or_no("This contact has it from their channel.")),
                    always("proven_there", yes_or_no("The other one has it from their channel.")),
                ],
            ),
        ),
        (
            "Suggestion",
            object(
                "A contact that might be the same person.",
                vec![
                    always("contact", reference("Contact")),
                    always("evidence", list(&reference("Evidence"), "What the two have in common.")),
                ],
            ),
        ),
        ("SuggestionPage", page("Suggestion")),
        (
            "LinkRequest",
            object(
                "An address that somebody opens to be proven the same person on another channel.",
                vec![
                    always("id", id("lnk_", "The request.")),
                    always("contact_id", id("con_", "Who they are proven to be.")),
                    always("channel", reference("ChannelAccount")),
                    always("address", string("What to open: a wa.me or m.me address with the code in it.")),
                    always("code", string("The one-time code.")),
                    always("expires_at", time("Until when it counts.")),
                ],
            ),
        ),
    ]
}
