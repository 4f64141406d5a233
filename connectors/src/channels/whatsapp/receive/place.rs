//! Where an item stands in a body, and how to write a body that has only that item.

use serde_json::{Map, Value};

use crate::meta;

/// Objects that every item below them needs to be understood.
const NEEDED_BELOW: [&str; 2] = ["metadata", "context"];

/// A key of an object, or an item of the array under that key; the places above it lead to the root.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The place of `holder` itself; `None` for the root.
    pub(super) above: Option<&'a Place<'a>>,
    /// The object that has the key.
    pub(super) holder: &'a Value,
    /// The key.
    pub(super) key: &'a str,
    /// Which item of the array under it.
    pub(super) index: Option<usize>,
}

impl<'a> Place<'a> {
    /// The item at `index`.
    pub(super) fn item(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    /// A key of the object that stands at this place.
    pub(super) fn inside<'b>(&'b self, holder: &'b Value, key: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        Place { above: Some(self), holder, key, index: None }
    }

    /// Such as `entry[0].changes[0].value.messages[2]`.
    pub(super) fn path(&self) -> String {
        let above = self.above.map(|above| above.path() + ".").unwrap_or_default();
        let index = self.index.map(|index| format!("[{index}]")).unwrap_or_default();
        format!("{above}{}{index}", self.key)
    }

    /// A whole body with `part` under this place's key, and of the objects above it what a reader
    /// needs. Of the people in `contacts` only `contact` is kept, so that a thousand items that
    /// cannot be read do not each carry a thousand names.
    pub(super) fn body(&self, part: Value, contact: Option<&Value>) -> Value {
        let mut holder = brief(self.holder, &NEEDED_BELOW);
        if let Some(contact) = contact
            && meta::field(self.holder, "contacts").is_some()
        {
            holder.insert(
                "contacts".to_owned(),
                Value::Array(vec![Value::Object(brief(contact, &["profile"]))]),
            );
        }
        holder.insert(self.key.to_owned(), part);
        let holder = Value::Object(holder);
        match self.above {
            None => holder,
            Some(above) if above.index.is_some() => above.body(Value::Array(vec![holder]), contact),
            Some(above) => above.body(holder, contact),
        }
    }
}

/// What `holder` says by itself, and what its objects under `keys` do. This is copied for each parked
/// item, so nothing large may be in it.
fn brief(holder: &Value, keys: &[&str]) -> Map<String, Value> {
    let mut kept = meta::scalars(holder);
    for key in keys {
        if let Some(object) = holder.get(key).filter(|value| value.is_object()) {
            kept.insert((*key).to_owned(), Value::Object(meta::scalars(object)));
        }
    }
    kept
}
