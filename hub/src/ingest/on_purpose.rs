//! Panics, for tests: a mistake of ours that nobody knows of yet has to be made on purpose.

use loket_backbone::bus::Item;

/// The trace of items that panic when they are carried out.
pub(super) const PANICS: &str = "panic on purpose";

/// Panics for items that are to.
pub(super) fn panic_on_purpose(items: &[&Item]) {
    assert!(items.iter().all(|item| item.trace != PANICS), "on purpose");
}
