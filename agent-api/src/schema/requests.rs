//! What requests carry, and the parts that requests and answers share.

use loket_protocol::content::SENDABLE;
use serde_json::{Value, json};

use super::{
    always, anything, closed, id, list, maybe, names, object, or_null, reference, string, text, time, whole,
    yes_or_no,
};

/// Every schema of a request.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = acts_of_people();
    all.extend(acts_on_threads());
    all.extend(writes_to_threads());
    all.extend(parts_of_content());
    all.extend(parts_to_choose_from());
    all.push(("Content", content(&string("What it says."), false)));
    all.push(("NewContent", content(&text(1, 65_536, "The words, the caption, or the body."), true)));
    all.push(("Attachment", attachment()));
    all.push(("NewAttachment", new_attachment()));
    all.push(("ClientFrame", client_frame()));
    all
}

fn acts_of_people() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Login",
            closed(
                "Who logs in.",
                vec![
                    always("login", text(1, 64, "The login name, compared without case.")),
                    always("password", text(1, 128, "The password.")),
                    maybe(
                        "cookie",
                        yes_or_no(
                            "Put the session into the inbox's cookie and tell no token; for pages of our own origin.",
                        ),
                    ),
                ],
            ),
        ),
        (
            "SetPresence",
            closed(
                "Whether you are there.",
                vec![
                    always("presence", names(&["online", "away", "offline"], "Whether you are there.")),
                    maybe("accepting", or_null(yes_or_no("Whether you take new threads."))),
                    maybe(
                        "capacity",
                        or_null(
                            json!({"type": "integer", "minimum": 1, "maximum": 100, "description": "How many threads at once."}),
                        ),
                    ),
                ],
            ),
        ),
        (
            "ChangePassword",
            closed(
                "The old password and a new one.",
                vec![
                    always("current_password", text(1, 128, "The password until now.")),
                    always("new_password", text(12, 128, "The new one, 12 to 128 characters.")),
                ],
            ),
        ),
        (
            "CreateAgent",
            closed(
                "A new agent.",
                vec![
                    always(
                        "login",
                        json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9.@_+-]+$", "description": "What they log in with."}),
                    ),
                    always("name", text(1, 80, "What customers and colleagues see.")),
                    always("role", names(&["admin", "lead", "agent"], "What they may do.")),
                ],
            ),
        ),
        (
            "CreateApiKey",
            closed(
                "A new API key.",
                vec![
                    always("name", text(1, 80, "What it is for; also the name on its messages.")),
                    always(
                        "role",
                        names(&["admin", "lead", "agent", "bot", "integrator"], "What it may do."),
                    ),
                    always("expires_at", time("Until when; at most a year ahead.")),
                ],
            ),
        ),
        ("DropParked", closed("Why it is given up.", vec![always("why", text(1, 500, "The reason."))])),
    ]
}

fn acts_on_threads() -> Vec<(&'static str, Value)> {
    vec![
        (
            "MarkRead",
            closed(
                "Up to where.",
                vec![maybe("up_to_seq", or_null(whole("A number of the thread's log; absent: all of it.")))],
            ),
        ),
        (
            "ShowTyping",
            closed(
                "Whether somebody is writing.",
                vec![maybe("on", json!({"type": "boolean", "default": true}))],
            ),
        ),
        (
            "Assign",
            closed("To whom.", vec![always("agent", or_null(id("agt_", "The agent; null for nobody.")))]),
        ),
        (
            "MergeContacts",
            closed(
                "Who is the same person.",
                vec![
                    always("contact", id("con_", "The other contact.")),
                    maybe(
                        "survivor",
                        or_null(id("con_", "Which of the two survives; the older one when it is not said.")),
                    ),
                    maybe("why", or_null(text(1, 500, "Why."))),
                ],
            ),
        ),
        (
            "RequestLink",
            closed(
                "Where the address is to lead.",
                vec![
                    always(
                        "channel",
                        json!({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$", "description": "The kind of channel: whatsapp, messenger."}),
                    ),
                    maybe(
                        "account",
                        or_null(text(1, 128, "Which account of it; the first by name when it is not said.")),
                    ),
                    maybe(
                        "language",
                        or_null(text(2, 8, "The language of the words in it: nl (default), en.")),
                    ),
                ],
            ),
        ),
        ("UndoMerge", closed("Why it is taken back.", vec![maybe("why", or_null(text(1, 500, "Why.")))])),
    ]
}

fn writes_to_threads() -> Vec<(&'static str, Value)> {
    vec![
        (
            "HandOver",
            closed(
                "What is asked of control.",
                vec![
                    always("verb", names(&["take", "pass", "offer", "accept", "release"], "What.")),
                    maybe(
                        "to",
                        or_null(json!({
                            "type": "string",
                            "pattern": format!("^(queue|bot|agt_{})$", super::ID_DIGITS),
                            "description": "To whom, for pass and offer: an agent, bot, or queue.",
                        })),
                    ),
                    maybe("epoch", or_null(whole("The turn that you know; only a take may leave it out."))),
                    maybe(
                        "reason",
                        or_null(json!({
                            "type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$",
                            "description": "Why, as a short word.",
                        })),
                    ),
                    maybe("summary", or_null(text(1, 2_000, "What whoever takes over should know."))),
                ],
            ),
        ),
        ("Empty", closed("Nothing.", vec![])),
        (
            "NewMessage",
            closed(
                "A message to the customer.",
                vec![
                    always("content", reference("NewContent")),
                    maybe(
                        "attachments",
                        json!({"type": "array", "items": reference("NewAttachment"), "maxItems": 30, "description": "With what."}),
                    ),
                    maybe(
                        "to",
                        or_null(json!({
                            "type": "string",
                            "pattern": format!("^(auto|idn_{})$", super::ID_DIGITS),
                            "description": "An identity of the thread's contact, or auto, the default.",
                        })),
                    ),
                    maybe("reply_to", or_null(id("msg_", "The message that it answers."))),
                    maybe(
                        "client_message_id",
                        or_null(
                            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$", "description": "Your own id of it, instead of an Idempotency-Key: the same id is sent once."}),
                        ),
                    ),
                    maybe(
                        "epoch",
                        or_null(whole("The turn of control in which it was written; a bot must say it.")),
                    ),
                ],
            ),
        ),
        ("NewNote", closed("A note.", vec![always("text", text(1, 65_536, "What it says."))])),
    ]
}

fn parts_of_content() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Location",
            closed(
                "A place.",
                vec![
                    always(
                        "latitude",
                        json!({"type": "number", "minimum": -90, "maximum": 90, "description": "Degrees north."}),
                    ),
                    always(
                        "longitude",
                        json!({"type": "number", "minimum": -180, "maximum": 180, "description": "Degrees east."}),
                    ),
                    maybe("name", string("What it is called.")),
                    maybe("address", string("Its address.")),
                    maybe("url", string("A link to it.")),
                ],
            ),
        ),
        (
            "ContactCard",
            closed(
                "A shared contact card.",
                vec![
                    maybe("name", string("The name on it.")),
                    maybe("phones", list(&string("A number."), "Telephone numbers as written.")),
                    maybe("emails", list(&string("An address."), "Mail addresses.")),
                    maybe("organisation", string("The company.")),
                    maybe("details", anything("Everything else, as the provider gave it.")),
                    maybe("origin", string("How it came.")),
                ],
            ),
        ),
        (
            "Order",
            closed(
                "An order that the customer sent.",
                vec![
                    maybe("catalog_id", string("The catalogue.")),
                    maybe(
                        "items",
                        list(
                            &closed(
                                "A line.",
                                vec![
                                    always("product_id", string("The shop's own id.")),
                                    always("quantity", json!({"type": "integer"})),
                                    always("price", string("Price of one, a decimal string.")),
                                    always("currency", string("ISO currency code.")),
                                ],
                            ),
                            "Its lines.",
                        ),
                    ),
                ],
            ),
        ),
        (
            "Product",
            closed(
                "A product that a message is about.",
                ["id", "catalog_id", "retailer_id", "title", "subtitle", "image_url"]
                    .map(|name| maybe(name, string("As the provider gave it.")))
                    .to_vec(),
            ),
        ),
        (
            "Referral",
            closed(
                "The ad, post, page or link that brought the customer.",
                ["type", "source", "id", "ad_id", "ref", "url", "headline", "title", "body", "click_id"]
                    .map(|name| maybe(name, string("As the provider gave it.")))
                    .into_iter()
                    .chain([maybe("details", anything("Everything else."))])
                    .collect(),
            ),
        ),
    ]
}

fn parts_to_choose_from() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Button",
            closed(
                "A button or quick reply.",
                vec![
                    maybe("id", string("What comes back as the answer's payload.")),
                    maybe("title", string("What stands on it.")),
                    maybe("url", string("Where it leads.")),
                    maybe(
                        "asks",
                        names(&["text", "phone", "email"], "A quick reply that offers the customer's own."),
                    ),
                ],
            ),
        ),
        (
            "List",
            closed(
                "A list to choose from.",
                vec![
                    maybe("button", string("What stands on the button that opens it.")),
                    maybe(
                        "sections",
                        list(
                            &closed(
                                "A part.",
                                vec![
                                    maybe("title", string("Its heading.")),
                                    maybe(
                                        "rows",
                                        list(
                                            &closed(
                                                "A row.",
                                                vec![
                                                    maybe("id", string("What comes back.")),
                                                    maybe("title", string("What stands in it.")),
                                                    maybe("description", string("A smaller line.")),
                                                ],
                                            ),
                                            "Its rows.",
                                        ),
                                    ),
                                ],
                            ),
                            "Its parts.",
                        ),
                    ),
                ],
            ),
        ),
        (
            "Template",
            closed(
                "An approved template with its values.",
                vec![
                    maybe("name", string("Its name.")),
                    maybe("language", string("Language code such as nl or en_US.")),
                    maybe("components", anything("The provider's components array.")),
                ],
            ),
        ),
        (
            "NewReaction",
            closed(
                "A reaction to send.",
                vec![
                    always("message_id", id("msg_", "To which message.")),
                    maybe("emoji", string("The emoji; empty takes it back.")),
                ],
            ),
        ),
        (
            "ReactionContent",
            closed(
                "A reaction that we send.",
                vec![
                    maybe("message_id", id("msg_", "To which message.")),
                    maybe("external_id", string("The provider's id of it; filled in by Loket.")),
                    maybe("emoji", string("The emoji; empty takes it back.")),
                ],
            ),
        ),
        (
            "ProviderError",
            object(
                "An error that a provider reports.",
                vec![
                    always("code", json!({"type": "integer", "description": "The provider's code."})),
                    maybe("subcode", json!({"type": "integer", "description": "Its sub-code."})),
                    maybe("title", string("The provider's words.")),
                    maybe("details", string("More of them.")),
                ],
            ),
        ),
    ]
}

/// What a message says: one flat record. What goes out has fewer fields than what comes in.
fn content(words: &Value, to_be_sent: bool) -> Value {
    let mut fields = vec![
        maybe("text", words.clone()),
        maybe("location", reference("Location")),
        maybe("contacts", list(&reference("ContactCard"), "Contact cards.")),
        maybe("header", string("Above the text of buttons, a list or a link.")),
        maybe("footer", string("Below it.")),
        maybe("buttons", list(&reference("Button"), "Buttons or quick replies.")),
        maybe("list", reference("List")),
        maybe("template", reference("Template")),
        maybe("reaction", reference(if to_be_sent { "NewReaction" } else { "ReactionContent" })),
    ];
    if to_be_sent {
        fields.insert(0, always("type", names(SENDABLE, "The type; it tells which fields are expected.")));
        return closed("What to say.", fields);
    }
    fields.insert(0, always("type", string("The type; it tells which fields to expect.")));
    fields.extend([
        maybe("payload", string("Machine value behind a button; not for display.")),
        maybe("order", reference("Order")),
        maybe("product", reference("Product")),
        maybe("referral", reference("Referral")),
        maybe("flow", anything("A filled-in flow: the values by name.")),
        maybe("forwarded", names(&["yes", "often"], "Had been forwarded.")),
        maybe("original_type", string("What the provider calls a thing that it could not hand over.")),
        maybe("errors", list(&reference("ProviderError"), "What it said about it.")),
        maybe("details", anything("Anything else worth keeping.")),
    ]);
    object("What a message says.", fields)
}

fn attachment() -> Value {
    object(
        "An attachment of a message.",
        vec![
            maybe("id", id("att_", "The attachment.")),
            always("kind", string("image, video, audio, document, file, sticker, link …")),
            maybe("mime", string("The media type as declared; not believed.")),
            maybe("size", whole("Size in bytes, when known.")),
            always("state", names(&["remote", "none"], "How far its bytes are.")),
            maybe("media_id", string("The provider's id to fetch it by.")),
            maybe("url", string("The address given by the provider.")),
            maybe("sha256", string("SHA-256 of the bytes, as the provider says.")),
            maybe("filename", string("File name; untrusted.")),
            maybe("title", string("Title of a link or share.")),
            maybe("voice", yes_or_no("Recorded in the app.")),
            maybe("animated", yes_or_no("Moves.")),
            maybe("sticker_id", json!({"type": "integer", "description": "Which sticker."})),
            maybe("details", anything("Anything else worth keeping.")),
        ],
    )
}

fn new_attachment() -> Value {
    closed(
        "An attachment to send: by an address that the provider fetches, or by an uploaded id.",
        vec![
            always("kind", names(&["image", "video", "audio", "document", "file", "sticker"], "What it is.")),
            maybe("mime", string("The media type.")),
            maybe("media_id", string("The provider's id of an uploaded one.")),
            maybe("url", string("Where the provider fetches it.")),
            maybe("filename", string("File name.")),
            maybe("voice", yes_or_no("A voice message.")),
        ],
    )
}

fn client_frame() -> Value {
    let kind = |name: &str| always("type", names(&[name], "Which frame."));
    json!({
        "description": "A frame of /v1/stream from the client. Others are counted; the tenth closes the socket.",
        "oneOf": [
            closed("Somebody is writing.", vec![
                kind("typing"),
                always("thread_id", id("thr_", "Where.")),
                maybe("on", json!({"type": "boolean", "default": true})),
            ]),
            closed("You have this thread before you: say it every 20 s while it is so.", vec![
                kind("looking"),
                always("thread_id", id("thr_", "Which.")),
                maybe("on", json!({"type": "boolean", "default": true})),
            ]),
            closed("Whether you are there.", vec![
                kind("presence"),
                always("presence", names(&["online", "away", "offline"], "Whether you are there.")),
                maybe("accepting", or_null(yes_or_no("Whether you take new threads."))),
                maybe("capacity", or_null(json!({"type": "integer", "minimum": 1, "maximum": 100}))),
            ]),
            closed("Are you there?", vec![kind("ping")]),
        ]
    })
}
