//! What answers to operators carry: channel accounts, parked items, health.

use serde_json::{Value, json};

use super::{
    Field, always, id, list, maybe, names, object, or_null, page, reference, string, time, whole, yes_or_no,
};

/// Every schema of an answer to an operator.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = channels();
    all.extend(parked());
    all.extend(health());
    all
}

fn channels() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Channel",
            object(
                "A channel account and how it is doing.",
                vec![
                    always("channel", reference("ChannelAccount")),
                    always("name", string("The name in the settings.")),
                    always(
                        "capabilities",
                        object(
                            "What can be done with it.",
                            vec![
                                always(
                                    "window_ms",
                                    or_null(whole(
                                        "How long after the contact's last message anything may be sent.",
                                    )),
                                ),
                                always(
                                    "human_window_ms",
                                    or_null(whole("How long a person's own words may be sent.")),
                                ),
                                always(
                                    "reads_the_thread",
                                    yes_or_no("The recipient reads the thread itself."),
                                ),
                                always("text_chars_max", whole("The longest text, in characters.")),
                                always(
                                    "content_types",
                                    list(&string("A content type."), "What it can send."),
                                ),
                                always(
                                    "captions",
                                    list(
                                        &string("A content type."),
                                        "Those that are a file and take a text under it. With others, and when it is too long for that, the text goes as a message of its own, in front.",
                                    ),
                                ),
                                always("caption_chars_max", whole("The longest such text, in characters.")),
                                always("reactions", yes_or_no("Whether a reaction can be sent.")),
                            ],
                        ),
                    ),
                    always("health", names(&["connected", "degraded", "reauthorise"], "How it is doing.")),
                    always("sentence", or_null(string("What is wrong and how to mend it."))),
                    always("since", or_null(time("Since when; null while nothing has happened on it yet."))),
                    always("last_inbound_at", or_null(time("When something came in last."))),
                    always("last_sent_at", or_null(time("When the provider took something last."))),
                    always("queued", whole("Replies that wait to be sent.")),
                    always("unconfirmed", whole("Replies whose answer was lost and that are not settled.")),
                ],
            ),
        ),
        ("ChannelPage", page("Channel")),
    ]
}

fn parked() -> Vec<(&'static str, Value)> {
    vec![
        (
            "ParkedItem",
            object(
                "An item that was set aside.",
                vec![
                    always("id", id("prk_", "The item.")),
                    always("name", string("A short name for people.")),
                    always("channel_kind", string("On which kind of channel.")),
                    always("account", or_null(string("The channel account as the body named it."))),
                    always("reason", string("Why, by name.")),
                    always("error", string("What was wrong and where.")),
                    always("times", whole("How often it came.")),
                    always("state", names(&["parked", "replayed", "dropped"], "What became of it.")),
                    always("message_id", or_null(id("msg_", "The placeholder in the thread."))),
                    always("first_at", time("When it came first.")),
                    always("last_at", time("When it came last.")),
                    always("size_bytes", whole("Size of its bytes.")),
                ],
            ),
        ),
        ("ParkedPage", page("ParkedItem")),
    ]
}

fn durability() -> Field {
    always(
        "durability",
        names(&["full", "relaxed"], "`relaxed`: a setting allows to forget what was confirmed."),
    )
}

fn health() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Live",
            object("The process answers.", vec![always("status", names(&["live"], "It is.")), durability()]),
        ),
        (
            "Ready",
            object("The API can work.", vec![always("status", names(&["ready"], "It is.")), durability()]),
        ),
        (
            "Status",
            object(
                "How the parts are doing.",
                vec![
                    always("ready", yes_or_no("The API can work.")),
                    always(
                        "hub",
                        object(
                            "Store, bus and queues.",
                            vec![
                                always("store", yes_or_no("The store answers.")),
                                always("bus", yes_or_no("The bus answers.")),
                                always("unnumbered", whole("Log entries without a number yet.")),
                                always("parked", whole("Parked items that wait for a person.")),
                                always(
                                    "topics",
                                    json!({
                                        "type": "object",
                                        "description": "How full the bus is, by topic.",
                                        "additionalProperties": reference("Depth"),
                                    }),
                                ),
                            ],
                        ),
                    ),
                    always("channels", list(&reference("Channel"), "The channel accounts.")),
                    always("log_head", whole("The last number of the log.")),
                    always("sockets", whole("Open sockets of this process.")),
                    always("requests", whole("Requests being carried out in this process.")),
                    always("disks", list(&reference("Disk"), "The disks that this process writes to.")),
                    durability(),
                    always("relaxed", list(&string("A setting."), "The settings that relax durability.")),
                ],
            ),
        ),
        (
            "Disk",
            object(
                "Room on a disk.",
                vec![
                    always("holds", names(&["bus", "store"], "What is on it.")),
                    always(
                        "room",
                        names(
                            &["enough", "low", "full"],
                            "`low` under 256 MiB or 5 %: media and exports stop, once there are any. `full` \
                             under 64 MiB: callbacks get 503 and writes 507; reading and removing go on.",
                        ),
                    ),
                    maybe("free_bytes", whole("What may still be written.")),
                    maybe("size_bytes", whole("All there is.")),
                ],
            ),
        ),
        (
            "Depth",
            object(
                "How full a topic is.",
                vec![
                    always("items", whole("Items that are not acknowledged.")),
                    always("leased", whole("Of these, how many are being worked on.")),
                    always("oldest_age_ms", whole("Age of the oldest.")),
                ],
            ),
        ),
        (
            "OpenApi",
            json!({"type": "object", "description": "An OpenAPI 3.1 document.", "required": ["openapi", "info", "paths"]}),
        ),
    ]
}
