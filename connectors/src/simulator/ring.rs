//! A list that forgets its oldest items, and says how many.

use std::collections::VecDeque;

/// Numbered items, the newest `most` of them.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    items: VecDeque<T>,
    /// How many there ever were: the next item has this number plus one.
    total: u64,
    most: usize,
}

impl<T> Ring<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { items: VecDeque::new(), total: 0, most }
    }

    /// The number that the next item gets, from 1.
    pub(crate) fn next_number(&self) -> u64 {
        self.total + 1
    }

    pub(crate) fn push(&mut self, item: T) {
        self.items.push_back(item);
        self.total += 1;
        if self.items.len() > self.most {
            self.items.pop_front();
        }
    }

    /// How many were forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.total - u64::try_from(self.items.len()).unwrap_or(u64::MAX)
    }

    /// The items with a number above `after`, oldest first.
    pub(crate) fn after(&self, after: u64) -> impl Iterator<Item = &T> {
        let skip = after.saturating_sub(self.forgotten());
        self.items.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_counted() {
        let mut ring = Ring::new(3);
        for number in 1..=5 {
            assert_eq!(ring.next_number(), number);
            ring.push(number);
        }
        assert_eq!(ring.forgotten(), 2);
        assert_eq!(ring.after(0).copied().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(ring.after(4).copied().collect::<Vec<_>>(), [5]);
        assert_eq!(ring.after(9).count(), 0);
    }
}
