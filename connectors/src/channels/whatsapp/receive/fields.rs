//! Webhook fields beside messages: identity, preferences, the address book, notices about the
//! account, and what is only acknowledged (`whatsapp` §10).

use loket_protocol::channel::ChannelHealth;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::inbound::{
    ContactSyncFact, Fact, IdentityFact, InboundEvent, NoticeFact, PreferenceFact,
};
use loket_protocol::problem::ParkReason;
use serde_json::{Value, json};

use super::customer::{self, PLAIN, Person};
use super::place::Place;
use super::{About, Change, Trouble, Walk};
use crate::meta;

/// Fields about the business account. They usually come without `metadata` and are routed by the id
/// of the entry.
const NOTICES: [&str; 13] = [
    "account_update",
    "account_alerts",
    "account_review_update",
    "business_capability_update",
    "business_username_update",
    "phone_number_quality_update",
    "phone_number_name_update",
    "security",
    "message_template_status_update",
    "message_template_quality_update",
    "message_template_components_update",
    "template_category_update",
    "account_settings_update",
];

/// Fields that are understood and of no consequence here.
const IGNORED: [&str; 9] = [
    "calls",
    "flows",
    "partner_solutions",
    "payment_configuration_update",
    "automatic_events",
    "group_lifecycle_update",
    "group_participants_update",
    "group_settings_update",
    "group_status_update",
];

/// Fields about people, of one channel account.
const PEOPLE: [&str; 3] = ["user_id_update", "user_preferences", "smb_app_state_sync"];

/// True for fields that may come without a phone number id.
pub(super) fn is_about_the_account(field: &str) -> bool {
    NOTICES.contains(&field) || IGNORED.contains(&field)
}

/// True for every field that this version reads.
pub(super) fn is_known(field: &str) -> bool {
    is_about_the_account(field)
        || PEOPLE.contains(&field)
        || matches!(field, "messages" | "smb_message_echoes" | "history")
}

/// Reads one item of such a field.
type Read<'a> = fn(&Walk<'a>, &Change<'_>, &Value) -> Result<InboundEvent, Trouble>;

impl<'a> Walk<'a> {
    /// A notice, once for each channel account that it concerns: the number it names, or all
    /// configured numbers of its business account. When none is known it stands under
    /// `waba <id>`, which is no channel account: shown to the operator, of no effect.
    pub(super) fn notice(
        &mut self,
        field: &str,
        value: &Value,
        number: Option<String>,
        entry: &Value,
    ) -> Result<(), Trouble> {
        let waba = meta::id(entry, "id").unwrap_or_else(|| "unknown".to_owned());
        let filed_under = format!("waba {waba}");
        let (accounts, scope) = match (number, self.routes.wabas.get(&waba)) {
            (Some(number), _) => (vec![number], None),
            (None, Some(numbers)) => (numbers.clone(), Some(filed_under)),
            (None, None) => (vec![filed_under.clone()], Some(filed_under)),
        };
        let fact = if IGNORED.contains(&field) {
            Fact::Ignored(ignored(field, value, scope))
        } else {
            Fact::AccountNotice(told(field, value, scope))
        };
        for account in accounts {
            let event = self.event(&account, None, meta::time(entry, "time"), None, fact.clone());
            self.push(event)?;
        }
        Ok(())
    }

    /// Any other field of a known channel account.
    pub(super) fn other_field(
        &mut self,
        inside: &Place<'_>,
        change: &Change<'_>,
        field: &str,
    ) -> Result<(), Trouble> {
        let account = change.account.as_str();
        let (array, read): (&'static str, Read<'a>) = match field {
            "user_id_update" => ("user_id_update", Self::user_id_update),
            "user_preferences" => ("user_preferences", Self::preference),
            "smb_app_state_sync" => ("state_sync", Self::contact_sync),
            _ => return Err(Trouble::unknown("field", field)),
        };
        let is_there = self.each_in(inside, change.value, array, account, |walk, place, item| {
            if let Err(trouble) = read(walk, change, item).and_then(|event| walk.push(event)) {
                walk.park_item(place, Some(account), &trouble, &About::default(), item, None);
            }
        });
        if is_there { Ok(()) } else { Err(Trouble::unreadable(format!("the value has no {array}"))) }
    }

    fn user_id_update(&self, change: &Change<'_>, item: &Value) -> Result<InboundEvent, Trouble> {
        let pairs = [(HandleKind::Bsuid, "user_id"), (HandleKind::ParentBsuid, "parent_user_id")];
        let handles = |which: &str| -> Vec<Handle> {
            let pairs = pairs.iter();
            pairs
                .filter_map(|(kind, key)| Some(Handle::new(*kind, meta::id(item.get(key)?, which)?)))
                .collect()
        };
        let (previous, current) = (handles("previous"), handles("current"));
        if previous.is_empty() || current.is_empty() {
            return Err(Trouble::unreadable("user_id has no previous or no current"));
        }
        let details = meta::text(item, "detail").map(|detail| json!({ "detail": detail }));
        let fact = Fact::Identity(IdentityFact {
            external_id: None,
            change: "user_id_update".to_owned(),
            previous,
            current,
            details,
        });
        let customer = person_of(change, item).customer();
        Ok(self.event(&change.account, customer, meta::time(item, "timestamp"), Some(false), fact))
    }

    fn preference(&self, change: &Change<'_>, item: &Value) -> Result<InboundEvent, Trouble> {
        let person = person_of(change, item);
        if !person.is_known() {
            let why = "nobody is named".to_owned();
            return Err(Trouble { reason: ParkReason::NoSender, why });
        }
        let (Some(category), Some(value)) = (meta::text(item, "category"), meta::text(item, "value")) else {
            return Err(Trouble::unreadable("category or value is missing"));
        };
        let details = meta::text(item, "detail").map(|detail| json!({ "detail": detail }));
        let fact = Fact::Preference(PreferenceFact { category, value, details });
        let at = meta::time(item, "timestamp");
        Ok(self.event(&change.account, person.customer(), at, Some(false), fact))
    }

    fn contact_sync(&self, change: &Change<'_>, item: &Value) -> Result<InboundEvent, Trouble> {
        let contact = item.get("contact").unwrap_or(&Value::Null);
        let number = meta::id(contact, "phone_number").and_then(|number| customer::phone(&number));
        let number = number.ok_or_else(|| Trouble {
            reason: ParkReason::NoSender,
            why: "contact.phone_number is no number".to_owned(),
        })?;
        let action = meta::text(item, "action").ok_or_else(|| Trouble::unreadable("action is missing"))?;
        if !matches!(action.as_str(), "add" | "remove") {
            return Err(Trouble::unknown("action", &action));
        }
        let name = customer::name(contact, "full_name").or_else(|| customer::name(contact, "first_name"));
        let customer = Customer {
            handles: vec![Handle::new(HandleKind::Phone, number)],
            name_is_ours: name.is_some(),
            name,
        };
        let at = item.get("metadata").and_then(|metadata| meta::time(metadata, "timestamp"));
        let fact = Fact::ContactSync(ContactSyncFact { action });
        Ok(self.event(&change.account, Some(customer), at, Some(false), fact))
    }
}

fn person_of(change: &Change<'_>, item: &Value) -> Person {
    let named = Person::named_in(item, PLAIN);
    let contact = change.contacts.of_person(&named);
    named.completed_by(contact)
}

fn ignored(field: &str, value: &Value, scope: Option<String>) -> NoticeFact {
    let groups: Vec<String> =
        meta::list(value, "groups").iter().filter_map(|group| meta::id(group, "group_id")).collect();
    NoticeFact {
        kind: field.to_owned(),
        scope,
        action: None,
        health: None,
        sentence: format!("WhatsApp told something about {field}, which Loket does not use."),
        details: (!groups.is_empty()).then(|| json!({ "groups": groups })),
    }
}

fn told(field: &str, value: &Value, scope: Option<String>) -> NoticeFact {
    let word = |key: &str| meta::text_or_number(value, key).unwrap_or_else(|| "unknown".to_owned());
    let template = || format!("{} ({})", word("message_template_name"), word("message_template_language"));
    let mut health = None;
    let sentence = match field {
        "account_update" => {
            let (sentence, becomes) = account_update(value);
            health = becomes;
            sentence
        }
        "account_alerts" => {
            format!("WhatsApp raised an alert about the business account: {}.", word("alert_type"))
        }
        "account_review_update" => format!("The review of the business account ended: {}.", word("decision")),
        "business_capability_update" => format!(
            "The business may now begin conversations with {} people a day.",
            word("max_daily_conversations_per_business")
        ),
        "business_username_update" => {
            format!("The username {} of the business is now {}.", word("username"), word("status"))
        }
        "phone_number_quality_update" if word("event") == "THROUGHPUT_UPGRADE" => {
            "The number may now send 1,000 messages a second; messages_per_second can be raised.".to_owned()
        }
        "phone_number_quality_update" => format!("The standing of the number changed: {}.", word("event")),
        "phone_number_name_update" => {
            format!("The display name of the number was judged: {}.", word("decision"))
        }
        "security" => format!("The security settings of the number changed: {}.", word("event")),
        "message_template_status_update" => {
            format!("The template {} is now {}.", template(), word("event").to_lowercase())
        }
        "message_template_quality_update" => format!(
            "The quality of the template {} went from {} to {}.",
            template(),
            word("previous_quality_score"),
            word("new_quality_score")
        ),
        "message_template_components_update" => format!("The template {} has a new text.", template()),
        "template_category_update" => format!(
            "The category of the template {} went from {} to {}.",
            template(),
            word("previous_category"),
            word("new_category")
        ),
        _ => format!("WhatsApp told something about {field}."),
    };
    NoticeFact {
        kind: field.to_owned(),
        scope,
        action: meta::text(value, "event"),
        health,
        sentence,
        details: Some(value.clone()),
    }
}

/// The events of `account_update`, and what they make of the channel accounts.
fn account_update(value: &Value) -> (String, Option<ChannelHealth>) {
    let event = meta::text(value, "event").unwrap_or_else(|| "unknown".to_owned());
    let inner = |object: &str, key: &str| {
        let found = value.get(object).and_then(|object| meta::text_or_number(object, key));
        found.unwrap_or_else(|| "unknown".to_owned())
    };
    match event.as_str() {
        "DISABLED_UPDATE" => {
            let date = inner("ban_info", "waba_ban_date");
            match inner("ban_info", "waba_ban_state").as_str() {
                "SCHEDULE_FOR_DISABLE" => (
                    format!("WhatsApp will disable the business account on {date}: ask for a review now."),
                    Some(ChannelHealth::Degraded),
                ),
                "REINSTATE" => {
                    ("WhatsApp reinstated the business account.".to_owned(), Some(ChannelHealth::Connected))
                }
                _ => (
                    format!("WhatsApp disabled the business account ({date}): nothing can be sent."),
                    Some(ChannelHealth::Reauthorise),
                ),
            }
        }
        "PARTNER_REMOVED" => (
            format!(
                "The business account was disconnected ({}): connect it again.",
                inner("disconnection_info", "reason")
            ),
            Some(ChannelHealth::Reauthorise),
        ),
        "PARTNER_APP_UNINSTALLED" => (
            "Our app was removed from the business account: connect it again.".to_owned(),
            Some(ChannelHealth::Reauthorise),
        ),
        "ACCOUNT_DELETED" => {
            ("The business account was deleted.".to_owned(), Some(ChannelHealth::Reauthorise))
        }
        "ACCOUNT_VIOLATION" => (
            format!(
                "WhatsApp found a violation of its rules ({}): see the business manager.",
                inner("violation_info", "violation_type")
            ),
            Some(ChannelHealth::Degraded),
        ),
        "ACCOUNT_RESTRICTION" => (
            "WhatsApp restricted the business account: see the business manager.".to_owned(),
            Some(ChannelHealth::Degraded),
        ),
        _ => (format!("The business account changed: {event}."), None),
    }
}
