//! The features of real pictures, kept by the SHA-256 of the pictures and of all that looks at them.

use add_files::{Cache, Key};
use add_plugin::Features;

/// Largest entry, in bytes: 500,000 pictures of 2,048 features.
const MAX_ENTRY: u64 = 4 << 30;

/// The key of pictures, from the keys of each.
pub(super) fn key_of(pictures: &[Key], look: &str) -> Key {
    let parts = pictures.iter().map(Key::bytes);
    Key::of([look.as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()].into_iter().chain(parts))
}

/// The `sets` sets of features of `pictures` pictures, if all of them are kept.
pub(super) fn get(cache: &Cache, key: &Key, sets: usize, pictures: usize) -> Option<Vec<Features>> {
    (0..sets)
        .map(|set| {
            let bytes = cache.get(&entry(key, set), MAX_ENTRY)?;
            let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
            let width = values.len().checked_div(pictures)?;
            (width * pictures == values.len() && width > 0).then_some(Features { width, values })
        })
        .collect()
}

/// Keeps sets of features.
pub(super) fn put(cache: &Cache, key: &Key, sets: &[Features]) {
    for (set, features) in sets.iter().enumerate() {
        let bytes: Vec<u8> = features.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        cache.put(&entry(key, set), &bytes);
    }
}

fn entry(key: &Key, set: usize) -> Key {
    Key::of([key.bytes(), &(set as u64).to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_back_for_their_own_pictures_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::folder(folder.path());
        let picture = |name: &str| Key::of([name.as_bytes()]);
        let key = key_of(&[picture("a"), picture("b")], "look");
        let sets = vec![
            Features { width: 2, values: vec![1.0, 2.0, 3.0, 4.0] },
            Features { width: 1, values: vec![5.0, 6.0] },
        ];
        put(&cache, &key, &sets);
        assert_eq!(get(&cache, &key, 2, 2), Some(sets));
        assert_eq!(get(&cache, &key, 3, 2), None, "a set is missing");
        for other in
            [key_of(&[picture("b"), picture("a")], "look"), key_of(&[picture("a"), picture("b")], "other")]
        {
            assert_eq!(get(&cache, &other, 2, 2), None);
        }
    }
}
