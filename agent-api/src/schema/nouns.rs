//! What answers carry.

use serde_json::{Value, json};

use super::{
    always, anything, id, list, maybe, names, object, or_null, page, reference, string, time, whole,
    yes_or_no,
};

const ROLES: &[&str] = &["admin", "lead", "agent", "bot", "integrator"];

/// Every schema of an answer.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = people();
    all.extend(contacts());
    all.extend(threads());
    all.extend(said());
    all.extend(log());
    all.push(("Problem", problem()));
    all
}

fn problem() -> Value {
    object(
        "What went wrong, after RFC 9457.",
        vec![
            always("type", string("`urn:loket:problem:` and the code.")),
            always("title", string("Short, the same for every occurrence of the status.")),
            always("status", json!({"type": "integer", "minimum": 400, "maximum": 599})),
            always("code", string("Stable; what a program looks at.")),
            always("detail", string("A sentence: what is wrong and what to do.")),
            maybe("field", string("The field, parameter or header that is wrong.")),
            maybe("options", anything("What would be possible.")),
            always("trace_id", string("Finds this request in the log.")),
        ],
    )
}

fn agent_fields() -> Vec<super::Field> {
    vec![
        always("id", id("agt_", "The agent.")),
        always("login", string("What they log in with.")),
        always("name", string("What customers and colleagues see.")),
        always("role", names(ROLES, "What they may do.")),
        always("created_at", time("Since when.")),
    ]
}

fn people() -> Vec<(&'static str, Value)> {
    let mut colleague = agent_fields();
    colleague.push(always("presence", reference("PresenceState")));
    vec![
        ("Agent", object("A person who answers.", agent_fields())),
        ("Colleague", object("An agent with their presence.", colleague)),
        ("AgentPage", page("Colleague")),
        (
            "PresenceState",
            object(
                "Whether an agent is there, a lease of 60 seconds.",
                vec![
                    always("presence", names(&["online", "away", "offline"], "Whether they are there.")),
                    always("accepting", yes_or_no("Whether they take new threads.")),
                    always(
                        "capacity",
                        json!({"type": "integer", "minimum": 1, "maximum": 100, "description": "How many threads at once."}),
                    ),
                ],
            ),
        ),
        (
            "NewSession",
            object(
                "A session that has just begun.",
                vec![
                    always("id", id("ses_", "The session.")),
                    always(
                        "token",
                        or_null(string(
                            "The bearer token; it is shown this once. Null: it is in the cookie.",
                        )),
                    ),
                    maybe("csrf_token", string("With the cookie: what a write repeats in X-CSRF-Token.")),
                    always("expires_at", time("When it ends at the latest.")),
                    always("agent", reference("Agent")),
                ],
            ),
        ),
        (
            "Me",
            object(
                "Who a token belongs to.",
                vec![
                    always("id", string("The agent's or the key's id.")),
                    always("name", string("The name on its messages.")),
                    always("role", names(ROLES, "What it may do.")),
                    always("scopes", list(&string("A scope."), "All that the role has.")),
                    always("session_id", or_null(id("ses_", "The session; null for a key."))),
                    always("agent", or_null(reference("Agent"))),
                    always("presence", or_null(reference("PresenceState"))),
                    maybe(
                        "csrf_token",
                        string("With the inbox's cookie: what a write repeats in X-CSRF-Token."),
                    ),
                ],
            ),
        ),
        (
            "CreatedAgent",
            object(
                "A new agent.",
                vec![
                    always("agent", reference("Agent")),
                    always("password", string("Generated; it is shown this once.")),
                ],
            ),
        ),
        (
            "ApiKey",
            object(
                "An API key without its secret.",
                vec![
                    always("id", id("key_", "The key.")),
                    always("name", string("What it is for.")),
                    always("role", names(ROLES, "What it may do.")),
                    always("created_at", time("Since when.")),
                    always("expires_at", time("Until when.")),
                    always("last_used_at", or_null(time("When it was used last, to the minute."))),
                    always("revoked_at", or_null(time("Since when it no longer works."))),
                ],
            ),
        ),
        ("ApiKeyPage", page("ApiKey")),
        (
            "CreatedApiKey",
            object(
                "A new API key.",
                vec![
                    always("key", reference("ApiKey")),
                    always("secret", string("The bearer token; it is shown this once.")),
                ],
            ),
        ),
    ]
}

fn contacts() -> Vec<(&'static str, Value)> {
    vec![
        (
            "ChannelAccount",
            object(
                "One connected number, page or site.",
                vec![
                    always("kind", string("The kind of channel, such as whatsapp.")),
                    always("account", string("The provider's id of it.")),
                ],
            ),
        ),
        (
            "Handle",
            object(
                "One spelling of an identity.",
                vec![
                    always(
                        "kind",
                        names(
                            &[
                                "bsuid",
                                "phone",
                                "parent_bsuid",
                                "username",
                                "psid",
                                "igsid",
                                "user_ref",
                                "visitor",
                                "group",
                            ],
                            "What sort of address.",
                        ),
                    ),
                    always("value", string("The address.")),
                ],
            ),
        ),
        (
            "Identity",
            object(
                "A contact's address on one channel account.",
                vec![
                    always("id", id("idn_", "The identity.")),
                    always("contact_id", id("con_", "Whose it is.")),
                    always("channel", reference("ChannelAccount")),
                    always("handles", list(&reference("Handle"), "Its addresses.")),
                    always("name", or_null(string("The name given there; the customer's own choice."))),
                    always(
                        "window_closes_at",
                        or_null(time(
                            "Until when anything may be sent to it; null where there is no window or none is open.",
                        )),
                    ),
                    always(
                        "last_message_at",
                        or_null(time("The provider's time of the contact's last message from it.")),
                    ),
                    maybe(
                        "claims",
                        list(
                            &reference("Claim"),
                            "What its owner says of themselves, unproven; told for one contact, not in lists.",
                        ),
                    ),
                ],
            ),
        ),
        (
            "Contact",
            object(
                "A person, across channels.",
                vec![
                    always("id", id("con_", "The contact.")),
                    always("name", or_null(string("The name to show."))),
                    always("created_at", time("Since when we know them.")),
                    always("identities", list(&reference("Identity"), "All their addresses.")),
                ],
            ),
        ),
    ]
}

fn threads() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Control",
            object(
                "Who answers a thread now.",
                vec![
                    always("holder", names(&["bot", "waiting", "agent"], "What sort of party.")),
                    always(
                        "agent_id",
                        or_null(id("agt_", "Which agent; null for one who answered in another app.")),
                    ),
                    always("offered_to", or_null(id("agt_", "To whom it is offered while it waits."))),
                    always("offered_until", or_null(time("Until when they may accept."))),
                    always("epoch", whole("The number of this turn: one more with each new holder.")),
                    always("since", time("Since when.")),
                    always("reason", string("Why, as a short word.")),
                    always("summary", or_null(string("What whoever handed it on had to say."))),
                ],
            ),
        ),
        (
            "Thread",
            object(
                "The one timeline of a contact.",
                vec![
                    always("id", id("thr_", "The thread.")),
                    always("contact", reference("Contact")),
                    always(
                        "status",
                        names(&["open", "resolved"], "Whether somebody still has to do something."),
                    ),
                    always("case_id", or_null(id("case_", "The case that is open, or the last one."))),
                    always("assignee", or_null(id("agt_", "Who looks after it."))),
                    always("control", reference("Control")),
                    always(
                        "waiting_since",
                        or_null(time("Since when the customer waits for an answer; null when they do not.")),
                    ),
                    always("seq", whole("The number of the last entry of its log.")),
                    always("last_message", or_null(reference("Message"))),
                    always("unread", whole("The customer's messages since you last marked it read.")),
                    always("last_message_at", or_null(time("When the last message came."))),
                    always("created_at", time("Since when it exists.")),
                    always("version", whole("Raised by every change of assignee or status; the ETag.")),
                ],
            ),
        ),
        ("ThreadPage", page("Thread")),
        (
            "Sendability",
            object(
                "What may be said to a contact now.",
                vec![
                    always(
                        "auto",
                        or_null(id(
                            "idn_",
                            "Where a text to `auto` would go; null when no identity takes one.",
                        )),
                    ),
                    always(
                        "identities",
                        list(&reference("IdentitySendability"), "In the order in which `auto` tries them."),
                    ),
                ],
            ),
        ),
        ("IdentitySendability", identity_sendability()),
    ]
}

fn identity_sendability() -> Value {
    object(
        "What may be said to an identity now.",
        vec![
            always("identity_id", id("idn_", "The identity.")),
            always("channel", reference("ChannelAccount")),
            always(
                "may_send",
                names(
                    &["anything", "human_agent", "template", "nothing"],
                    "What it takes from you. `human_agent`: everything, because a person writes it; the \
                     platform's tag for that goes with it.",
                ),
            ),
            always("until", or_null(time("Until when that holds; null while nothing ends it."))),
            always("content_types", list(&string("A type."), "The content types that may be sent now.")),
            always(
                "health",
                names(
                    &["connected", "degraded", "reauthorise"],
                    "How its channel account is doing; with `reauthorise` a reply is accepted and held.",
                ),
            ),
            always("code", or_null(string("Why not everything: the code of a refused reply."))),
            always("sentence", or_null(string("The same in a sentence that says what to do."))),
        ],
    )
}

fn said() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Author",
            object(
                "Who wrote a message.",
                vec![
                    always("type", names(&["contact", "agent", "bot", "system"], "What sort of author.")),
                    maybe("id", string("Their id: contact, agent or key; for an echo the app that sent it.")),
                    maybe("name", string("The name to show.")),
                ],
            ),
        ),
        (
            "ReplyTo",
            object(
                "What a message answers.",
                vec![
                    maybe("message_id", id("msg_", "Our id of it, when we have it.")),
                    maybe("external_id", string("The provider's id of it.")),
                    maybe("story_id", string("A story that is answered.")),
                ],
            ),
        ),
        (
            "Reaction",
            object(
                "A reaction to a message, the last one per author.",
                vec![
                    always("emoji", string("The emoji.")),
                    always("author", reference("Author")),
                    always("at", time("The provider's time.")),
                ],
            ),
        ),
        (
            "Message",
            object(
                "One utterance.",
                vec![
                    always("id", id("msg_", "The message.")),
                    always("seq", whole("Its number in the thread's log.")),
                    always("thread_id", id("thr_", "Its thread.")),
                    maybe(
                        "copied_from",
                        object(
                            "Where it was appended, when a merge or its undo shows it here. It is the same message; \
                             sort by time.",
                            vec![
                                always("id", id("thr_", "The thread.")),
                                always("seq", whole("Its number there.")),
                            ],
                        ),
                    ),
                    always(
                        "direction",
                        names(&["in", "out", "note"], "From the customer, from us, or among ourselves."),
                    ),
                    always("author", reference("Author")),
                    always("channel", or_null(reference("ChannelAccount"))),
                    always("identity_id", or_null(id("idn_", "From or to which identity; null on a note."))),
                    always("content", reference("Content")),
                    always("attachments", list(&reference("Attachment"), "In order.")),
                    always("reply_to", or_null(reference("ReplyTo"))),
                    always("external_id", or_null(string("The provider's id of it."))),
                    always(
                        "status",
                        or_null(names(
                            &["queued", "sending", "unconfirmed", "sent", "delivered", "read", "failed"],
                            "Where an outgoing one stands; it only moves forward.",
                        )),
                    ),
                    always("status_detail", anything("When it got there, and why not.")),
                    always("reactions", list(&reference("Reaction"), "Reactions to it.")),
                    always("late", yes_or_no("It came more than five minutes after it was written.")),
                    always("edited_at", or_null(time("When it was last edited."))),
                    always("revoked_at", or_null(time("When it was taken back."))),
                    always("provider_time", or_null(time("The provider's time."))),
                    always("created_at", time("When it came into the thread.")),
                ],
            ),
        ),
        ("MessagePage", page("Message")),
        ("ThreadEventPage", page("Event")),
    ]
}

fn log() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Event",
            object(
                "An entry of the one log. New types and fields may come; ignore what you do not know.",
                vec![
                    always("id", id("evt_", "Unique for ever.")),
                    always(
                        "type",
                        json!({"type": "string", "pattern": "^[a-z0-9_]+(\\.[a-z0-9_]+)+$", "description": "What happened; /v1/event-types lists them."}),
                    ),
                    always("timestamp", time("When the fact was committed.")),
                    always(
                        "api_version",
                        json!({"type": "string", "format": "date", "description": "The version of the body."}),
                    ),
                    always("seq", whole("The number in the one log: no gap, no repeat.")),
                    maybe(
                        "thread",
                        object(
                            "Where it stands in its thread.",
                            vec![
                                always("id", id("thr_", "The thread.")),
                                always("seq", whole("Its number in the thread's log.")),
                            ],
                        ),
                    ),
                    always("data", anything("The object as it was at that moment.")),
                ],
            ),
        ),
        (
            "EventPage",
            object(
                "A page of the log.",
                vec![
                    always("items", list(&reference("Event"), "In order of seq.")),
                    always("next_cursor", string("The next `after`; always there.")),
                    always("head", whole("The last number of the log when it was read.")),
                ],
            ),
        ),
        (
            "EventTypeRow",
            object(
                "A row of the catalogue.",
                vec![
                    always("name", string("The type.")),
                    always("description", string("What it means.")),
                    always("of_a_thread", yes_or_no("Whether it belongs to a thread.")),
                ],
            ),
        ),
        ("EventTypePage", page("EventTypeRow")),
        ("ServerFrame", server_frame()),
    ]
}

/// A kind of frame by its `type`.
fn frame(kind: &str, about: &str, mut fields: Vec<super::Field>) -> Value {
    fields.insert(0, always("type", names(&[kind], "Which frame.")));
    object(about, fields)
}

fn server_frame() -> Value {
    let place = || string("A place in the log, for `after`.");
    json!({
        "description": "A frame of /v1/stream from the server.",
        "oneOf": [
            frame("hello", "The first frame.", vec![
                always("head", whole("The end of the log.")),
                always("epoch", string("Which log it is.")),
                always("cursor", place()),
                always("ping_ms", whole("How often the server pings.")),
            ]),
            frame("snapshot", "The given place is of another log: read the lists again; the socket goes on from here.", vec![
                always("head", whole("The end of the log.")),
                always("epoch", string("Which log it is.")),
                always("cursor", place()),
            ]),
            frame("event", "An event, once and in order.", vec![always("event", reference("Event"))]),
            frame("typing", "The customer or a colleague is writing.", vec![
                always("thread_id", id("thr_", "Where.")),
                always("agent_id", or_null(id("agt_", "The colleague; null for the customer."))),
                always("on", yes_or_no("Writing, or no longer.")),
            ]),
            frame("looking", "A colleague has a thread open before them; said again while it is so.", vec![
                always("thread_id", id("thr_", "Which.")),
                always("agent_id", id("agt_", "Who.")),
                always("on", yes_or_no("Looking, or no longer.")),
            ]),
            frame("presence", "A colleague came, went, or changed what they take.", vec![
                always("agent_id", id("agt_", "Who.")),
                always("state", reference("PresenceState")),
            ]),
            frame("going_away", "This process stops; come back.", vec![
                always("resume", place()),
                always("retry_ms", whole("When.")),
            ]),
            frame("pong", "The answer to a ping.", vec![]),
            frame("problem", "A frame of yours was refused.", vec![
                always("status", whole("As over REST.")),
                always("code", string("As over REST.")),
                always("detail", string("What is wrong.")),
            ]),
        ]
    })
}
