//! The files of a folder, and what was left out of them.

use std::{collections::BTreeMap, fmt};

/// The files of a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// Their names, in order.
    pub names: Vec<String>,
    /// What is not among them.
    pub passed_over: PassedOver,
}

/// Files that are not used, counted by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver(BTreeMap<String, (usize, String)>);

impl PassedOver {
    /// Counts the file `name`. The first of a reason is its example.
    pub fn add(&mut self, reason: &str, name: &str) {
        match self.0.get_mut(reason) {
            Some((count, _)) => *count += 1,
            None => drop(self.0.insert(reason.to_owned(), (1, name.to_owned()))),
        }
    }

    /// Counts what `other` has counted.
    pub fn extend(&mut self, other: Self) {
        for (reason, (count, example)) in other.0 {
            self.0.entry(reason).or_insert((0, example)).0 += count;
        }
    }

    /// Whether nothing was passed over.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Such as `6 hidden (sub/._a.png), 2 of a suffix that is not read (b.avif)`.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (reason, (count, example))) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            // A name may hold anything, and this is for a terminal.
            let example = example.escape_debug();
            let such_as = if *count == 1 { "" } else { "such as " };
            write!(f, "{comma}{count} {reason} ({such_as}{example})")?;
        }
        Ok(())
    }
}

/// The reason for leaving out files and folders that programs keep for themselves.
pub(crate) const HIDDEN: &str = "hidden";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_with_an_example() {
        let mut passed = PassedOver::default();
        assert!(passed.is_empty());
        passed.add("hidden", "._a\n");
        passed.add("hidden", "._b");
        let mut other = PassedOver::default();
        other.add("hidden", ".c");
        other.add("dangling", "d");
        passed.extend(other);
        assert_eq!(passed.to_string(), "1 dangling (d), 3 hidden (such as ._a\\n)");
    }
}
