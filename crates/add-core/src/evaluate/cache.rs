//! The features of real pictures, kept by the SHA-256 of the pictures and of all that looks at them.

use add_files::{Cache, Key};
use add_plugin::Features;

/// The key of pictures, from the keys of each.
pub(super) fn key_of(pictures: &[Key], look: &str) -> Key {
    let parts = pictures.iter().map(Key::bytes);
    Key::of([look.as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()].into_iter().chain(parts))
}

/// The `sets` sets of features of `pictures` pictures, if all of them are kept.
pub(super) fn get(cache: &Cache, key: &Key, sets: usize, pictures: usize) -> Option<Vec<Features>> {
    (0..sets).map(|set| cache.get_rows(&entry(key, set), pictures)).collect()
}

/// Keeps sets of features.
pub(super) fn put(cache: &Cache, key: &Key, sets: &[Features]) {
    for (set, features) in sets.iter().enumerate() {
        cache.put_rows(&entry(key, set), features);
    }
}

fn entry(key: &Key, set: usize) -> Key {
    Key::of([key.bytes(), &(set as u64).to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use add_plugin::FeaturesWriter;

    use super::*;

    #[test]
    fn features_come_back_for_their_own_pictures_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::folder(folder.path());
        let picture = |name: &str| Key::of([name.as_bytes()]);
        let key = key_of(&[picture("a"), picture("b")], "look");
        let set = |width: usize, values: &[f32]| {
            let mut set = FeaturesWriter::default();
            set.push(width, values).expect("kept");
            set.rows()
        };
        put(&cache, &key, &[set(2, &[1.0, 2.0, 3.0, 4.0]), set(1, &[5.0, 6.0])]);
        let kept = get(&cache, &key, 2, 2).expect("sound");
        let values: Vec<Vec<f32>> = kept.iter().map(|set| set.read(0, 2).expect("read")).collect();
        assert_eq!(values, [vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0]]);
        assert!(get(&cache, &key, 3, 2).is_none(), "a set is missing");
        for other in
            [key_of(&[picture("b"), picture("a")], "look"), key_of(&[picture("a"), picture("b")], "other")]
        {
            assert!(get(&cache, &other, 2, 2).is_none());
        }
    }
}
