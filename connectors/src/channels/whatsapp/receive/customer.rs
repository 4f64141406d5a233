//! Who somebody is: the identifiers of `whatsapp` §6, sorted by their form and not by the key that
//! they came under.

use std::collections::HashMap;

use loket_protocol::contact::{Customer, Handle, HandleKind};
use serde_json::Value;

use crate::meta;

/// The longest name that is kept, in characters. The platform allows far less.
const NAME_CHARS_MAX: usize = 1_000;
/// The longest telephone number that is taken for one (E.164 allows 15 digits).
const PHONE_DIGITS_MAX: usize = 20;

/// The keys under which an item names somebody: number, user id, parent id.
pub(super) type Keys = [&'static str; 3];

/// The author of a message.
pub(super) const FROM: Keys = ["from", "from_user_id", "from_parent_user_id"];
/// The receiver of a message of ours.
pub(super) const TO: Keys = ["to", "to_user_id", "to_parent_user_id"];
/// The receiver, in statuses.
pub(super) const RECIPIENT: Keys = ["recipient_id", "recipient_user_id", "recipient_parent_user_id"];
/// The member of a group that a status is about.
pub(super) const PARTICIPANT: Keys =
    ["recipient_participant_id", "recipient_participant_user_id", "recipient_participant_parent_user_id"];
/// Everywhere else.
pub(super) const PLAIN: Keys = ["wa_id", "user_id", "parent_user_id"];

/// Somebody, as far as an item tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) bsuid: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) parent_bsuid: Option<String>,
    pub(super) username: Option<String>,
    pub(super) name: Option<String>,
}

impl Person {
    /// The person whom `item` names under `keys`. A number's key may hold a user id (`whatsapp`
    /// §6.8); of two values of one sort the first counts.
    pub(super) fn named_in(item: &Value, keys: Keys) -> Self {
        let mut person = Self::default();
        let [number, user, parent] = keys;
        if let Some(user) = meta::id(item, user) {
            person.take(sorted(&user).unwrap_or(Handle::new(HandleKind::Bsuid, user)));
        }
        for key in [number, parent] {
            if let Some(handle) = meta::id(item, key).and_then(|value| sorted(&value)) {
                person.take(handle);
            }
        }
        person
    }

    /// One handle more; of two of a kind the first counts.
    pub(super) fn take(&mut self, handle: Handle) {
        let place = match handle.kind {
            HandleKind::Bsuid => &mut self.bsuid,
            HandleKind::ParentBsuid => &mut self.parent_bsuid,
            HandleKind::Username => &mut self.username,
            _ => &mut self.phone,
        };
        place.get_or_insert(handle.value);
    }

    /// True when it can be told who it is.
    pub(super) fn is_known(&self) -> bool {
        self.bsuid.is_some() || self.phone.is_some()
    }

    /// Adds what the matching contact of the change knows.
    pub(super) fn completed_by(mut self, contact: Option<&Value>) -> Self {
        let Some(contact) = contact else { return self };
        let other = Self::named_in(contact, PLAIN);
        let profile = contact.get("profile").unwrap_or(&Value::Null);
        self.bsuid = self.bsuid.or(other.bsuid);
        self.phone = self.phone.or(other.phone);
        self.parent_bsuid = self.parent_bsuid.or(other.parent_bsuid);
        self.username = self.username.or_else(|| username(profile));
        self.name = self.name.or_else(|| name(profile, "name"));
        self
    }

    /// The handles in order of preference as a key: user id, number, parent id, username.
    pub(super) fn handles(&self) -> Vec<Handle> {
        [
            (HandleKind::Bsuid, &self.bsuid),
            (HandleKind::Phone, &self.phone),
            (HandleKind::ParentBsuid, &self.parent_bsuid),
            (HandleKind::Username, &self.username),
        ]
        .into_iter()
        .filter_map(|(kind, value)| value.clone().map(|value| Handle { kind, value }))
        .collect()
    }

    /// The person as a customer; `None` when nothing at all is known.
    pub(super) fn customer(&self) -> Option<Customer> {
        let customer = Customer { handles: self.handles(), name: self.name.clone(), name_is_ours: false };
        (customer != Customer::default()).then_some(customer)
    }
}

/// A group as the customer of its own thread.
pub(super) fn group(id: &str) -> Customer {
    Customer { handles: vec![Handle::new(HandleKind::Group, id)], ..Customer::default() }
}

/// A name, cut where no name goes on.
pub(super) fn name(holder: &Value, key: &str) -> Option<String> {
    meta::text(holder, key).map(|name| name.chars().take(NAME_CHARS_MAX).collect())
}

/// A username without its `@` (`whatsapp` §6.6).
pub(super) fn username(holder: &Value) -> Option<String> {
    let given = meta::id(holder, "username")?;
    let username = given.strip_prefix('@').unwrap_or(&given);
    (!username.is_empty()).then(|| username.to_owned())
}

/// An address by its form (`whatsapp` §6.8); `None` when it has none of them.
pub(super) fn sorted(value: &str) -> Option<Handle> {
    let user_id =
        |rest: &str| (1..=128).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if let Some((country, rest)) = value.split_once('.')
        && country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
    {
        let (kind, rest) = match rest.strip_prefix("ENT.") {
            Some(rest) => (HandleKind::ParentBsuid, rest),
            None => (HandleKind::Bsuid, rest),
        };
        return user_id(rest).then(|| Handle::new(kind, value));
    }
    phone(value).map(|digits| Handle::new(HandleKind::Phone, digits))
}

/// The digits of a telephone number as people write them.
pub(super) fn phone(value: &str) -> Option<String> {
    let digits: String = value.chars().filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')')).collect();
    let is_number =
        (1..=PHONE_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
}

/// The people of a change by their identifiers. They are matched by these and never by position
/// (`whatsapp` §5).
pub(super) struct Contacts<'a> {
    by_bsuid: HashMap<String, &'a Value>,
    by_phone: HashMap<String, &'a Value>,
}

impl<'a> Contacts<'a> {
    /// The contacts of a change's value; what is no contact is passed over.
    pub(super) fn of(value: &'a Value) -> Self {
        let mut contacts = Self { by_bsuid: HashMap::new(), by_phone: HashMap::new() };
        for contact in meta::list(value, "contacts") {
            let person = Person::named_in(contact, PLAIN);
            if let Some(bsuid) = person.bsuid {
                contacts.by_bsuid.entry(bsuid).or_insert(contact);
            }
            if let Some(phone) = person.phone {
                contacts.by_phone.entry(phone).or_insert(contact);
            }
        }
        contacts
    }

    /// The contact of `person`. Equal numbers with different user ids are different people: numbers
    /// change hands.
    pub(super) fn of_person(&self, person: &Person) -> Option<&'a Value> {
        let by_bsuid = person.bsuid.as_ref().and_then(|bsuid| self.by_bsuid.get(bsuid));
        let by_phone = || {
            let contact = self.by_phone.get(person.phone.as_ref()?)?;
            let theirs = Person::named_in(contact, PLAIN).bsuid;
            (person.bsuid.is_none() || theirs.is_none() || theirs == person.bsuid).then_some(contact)
        };
        by_bsuid.or_else(by_phone).copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_sorted_by_their_form() {
        let kind = |value: &str| sorted(value).map(|handle| (handle.kind, handle.value));
        let same = |kind, value: &str| Some((kind, value.to_owned()));
        assert_eq!(kind("NL.25086514285491037391"), same(HandleKind::Bsuid, "NL.25086514285491037391"));
        assert_eq!(kind("US.ENT.2435"), same(HandleKind::ParentBsuid, "US.ENT.2435"));
        assert_eq!(kind("31600000042"), same(HandleKind::Phone, "31600000042"));
        assert_eq!(kind("+31 (6) 0000-0042"), same(HandleKind::Phone, "31600000042"));
        let too_long = format!("NL.{}", "1".repeat(129));
        for neither in ["nl.25", "NL.", "NL.a-b", "NLD.1", "someone", "", "+", &too_long, &"1".repeat(21)] {
            assert_eq!(kind(neither), None, "{neither}");
        }
    }

    #[test]
    fn a_user_id_under_the_key_of_a_number_is_a_user_id() {
        let item = json!({"from": "NL.123", "from_user_id": null});
        let person = Person::named_in(&item, FROM);
        assert_eq!(person.handles(), vec![Handle::new(HandleKind::Bsuid, "NL.123")]);
        let unheard_of = Person::named_in(&json!({"from_user_id": "x_y"}), FROM);
        assert_eq!(unheard_of.handles(), vec![Handle::new(HandleKind::Bsuid, "x_y")]);
    }

    #[test]
    fn contacts_are_matched_by_identifier_and_numbers_change_hands() {
        let value = json!({"contacts": [
            7, null,
            {"wa_id": "31600000042", "user_id": "NL.1", "profile": {"name": "first"}},
            {"wa_id": "31600000042", "user_id": "NL.2", "profile": {"name": "second"}},
            {"wa_id": "31600000043", "profile": {"name": "third", "username": "@who"}},
        ]});
        let contacts = Contacts::of(&value);
        let name = |item: Value| {
            let person = Person::named_in(&item, FROM);
            let contact = contacts.of_person(&person);
            person.completed_by(contact).name
        };
        assert_eq!(name(json!({"from_user_id": "NL.2"})).as_deref(), Some("second"));
        assert_eq!(name(json!({"from": "31600000042", "from_user_id": "NL.2"})).as_deref(), Some("second"));
        assert_eq!(name(json!({"from": "31600000042"})).as_deref(), Some("first"));
        assert_eq!(name(json!({"from": "31600000042", "from_user_id": "NL.3"})), None);
        assert_eq!(name(json!({"from": "31600000043", "from_user_id": "NL.4"})).as_deref(), Some("third"));
        assert_eq!(name(json!({"from": "31600000044"})), None);
    }
}
