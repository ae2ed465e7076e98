//! How often the pictures of a folder come in an epoch: kohya's training scripts say it in the folder's name.

use add_plugin::PluginError;
use serde::{Deserialize, Serialize};

/// Most samples that repeated pictures may make.
const MOST: usize = 100_000_000;

/// How often each picture comes in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repeats {
    /// Each comes once.
    Once,
    /// As often as its folder says: the pictures in `10_cat`, or in `img/10_cat`, come ten times, those outside of such a folder
    /// not at all. This is how kohya's scripts read it.
    Folders,
}

/// For each sample the number of its picture; nothing where each picture comes once.
///
/// # Errors
/// When the folders are named so and their numbers differ, but the recipe does not say whether they count; or when the
/// numbers make too many samples.
pub(crate) fn order(stated: Option<Repeats>, names: &[&str]) -> Result<Option<Vec<u32>>, PluginError> {
    let refused = |problem| PluginError::Field { field: "repeats", problem };
    let counts: Vec<Option<(&str, usize)>> = names.iter().map(|name| count(name)).collect();
    match stated {
        Some(Repeats::Once) => Ok(None),
        None => {
            let mut named = counts.iter().flatten();
            let first = named.next();
            match (first, named.find(|(_, count)| first.is_some_and(|(_, first)| first != count))) {
                (Some((folder, _)), Some((other, _))) => Err(refused(format!(
                    "the folders are named as kohya's scripts name them, with different numbers ({}, {}): say `repeats: \
                     Folders` to take their pictures so often, or `repeats: Once`",
                    folder.escape_debug(),
                    other.escape_debug()
                ))),
                // Numbers that are all alike change no picture's share.
                _ => Ok(None),
            }
        }
        Some(Repeats::Folders) => {
            let counts = || counts.iter().map(|count| count.map_or(0, |(_, count)| count));
            let sum = counts().fold(0_usize, usize::saturating_add);
            if sum == 0 {
                let problem = "expected folders such as `10_cat` with pictures, found none".to_owned();
                return Err(refused(problem));
            }
            if sum > MOST || names.len() > u32::MAX as usize {
                return Err(refused(format!(
                    "expected at most {MOST} samples, the folders' names make {sum}"
                )));
            }
            Ok(Some((0..).zip(counts()).flat_map(|(i, count)| std::iter::repeat_n(i, count)).collect()))
        }
    }
}

/// The first folder of a path with a number in front of its name, and that number.
fn count(name: &str) -> Option<(&str, usize)> {
    let (folders, _) = name.rsplit_once('/')?;
    folders.split('/').find_map(|folder| {
        let (digits, _) = folder.split_once('_')?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| (folder, digits.parse().unwrap_or(usize::MAX)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_say_how_often() {
        let names =
            ["2_cat/a.png", "2_cat/b/c.png", "1_dog/d.png", "e.png", "0_none/f.png", "img/2_fox/g.png"];
        let counted = order(Some(Repeats::Folders), &names).expect("small");
        assert_eq!(counted, Some(vec![0, 0, 1, 1, 2, 5, 5]));
        assert_eq!(order(Some(Repeats::Once), &names).expect("small"), None);
    }

    #[test]
    fn numbers_that_would_matter_must_be_decided() {
        for same in
            [&["10_cat/a.png", "10_dog/b.png"][..], &["10_cat/a.png", "b.png"], &["2020-05/a.png"], &[]]
        {
            assert_eq!(order(None, same).expect("no difference"), None, "{same:?}");
        }
        for names in [&["10_cat/a.png", "1_dog/b.png"][..], &["img/10_cat/a.png", "e.png", "img/1_dog/b.png"]]
        {
            let error = order(None, names).expect_err("a difference").to_string();
            assert!(error.contains("10_cat, 1_dog") && error.contains("repeats: Folders"), "{error}");
        }
        assert!(order(Some(Repeats::Folders), &["a.png"]).is_err());
        assert!(order(Some(Repeats::Folders), &["99999999999999999999999_x/a.png", "1_b/c.png"]).is_err());
    }
}
