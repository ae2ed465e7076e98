//! Captions beside their pictures: `a.png` with `a.txt` or `a.caption`.

use std::{borrow::Cow, collections::HashMap};

use add_data::{SUFFIXES, UNREAD_SUFFIXES};
use add_store::{Listing, PassedOver};
use icu_normalizer::ComposingNormalizerBorrowed;

/// Suffixes of captions, the first one that there is; the second is the default of kohya's scripts.
pub(crate) const CAPTIONS: [&str; 2] = ["txt", "caption"];

/// A picture, and the file with its captions if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) picture: String,
    pub(crate) caption: Option<String>,
}

/// The pictures of a folder with the files that end in one of `suffixes` beside them: `a.txt`, or else `a.png.txt`.
pub(crate) fn pair(listing: Listing, suffixes: &[&str]) -> (Vec<Beside>, PassedOver) {
    let Listing { names, mut passed_over } = listing;
    let mut pictures: Vec<&str> = Vec::new();
    // By what stands before their suffix, with the rank of that.
    let mut captions: HashMap<String, Vec<(usize, &str)>> = HashMap::new();
    for name in &names {
        let (stem, suffix) = split(name);
        let rank = suffixes.iter().position(|known| *known == suffix);
        if let Some(rank) = rank {
            captions.entry(composed(stem).into_owned()).or_default().push((rank, name));
        } else if is_picture(&suffix) {
            pictures.push(name);
        } else {
            count_other(&mut passed_over, name, &suffix);
        }
    }
    let mut used = 0;
    let find = |picture: &str| {
        let of = |stem: &str| captions.get(composed(stem).as_ref()).and_then(|found| found.iter().min());
        of(split(picture).0).or_else(|| of(picture)).map(|(_, name)| (*name).to_owned())
    };
    let pairs: Vec<Beside> = pictures
        .into_iter()
        .map(|picture| {
            let caption = find(picture);
            used += usize::from(caption.is_some());
            Beside { picture: picture.to_owned(), caption }
        })
        .collect();
    // Which captions are left over is only worth the work where there are more of them than were used.
    if captions.values().map(Vec::len).sum::<usize>() > used {
        let taken: std::collections::HashSet<&str> =
            pairs.iter().filter_map(|pair| pair.caption.as_deref()).collect();
        for (_, name) in captions.values().flatten().filter(|(_, name)| !taken.contains(name)) {
            passed_over.add("with captions but no picture", name);
        }
    }
    (pairs, passed_over)
}

/// Counts a file that is neither picture nor caption.
pub(crate) fn count_other(passed_over: &mut PassedOver, name: &str, suffix: &str) {
    if UNREAD_SUFFIXES.contains(&suffix) {
        let reason = format!("with .{suffix}, which is not read: convert them to PNG, JPEG or WebP");
        passed_over.add(&reason, name);
    } else {
        passed_over.add("of another kind", name);
    }
}

/// Whether a file with this suffix may be a picture that can be decoded.
pub(crate) fn is_picture(suffix: &str) -> bool {
    SUFFIXES.contains(&suffix)
}

/// A path before its suffix, and the suffix in small letters.
pub(crate) fn split(name: &str) -> (&str, String) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].rfind('.') {
        Some(dot) if dot > 0 => (&name[..base + dot], name[base + dot + 1..].to_lowercase()),
        _ => (name, String::new()),
    }
}

/// A name with each letter and its accent as one character, as most systems write it; macOS' older ones do not.
pub(crate) fn composed(name: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_found_by_the_name_of_their_picture() {
        let names = [
            "a.png",
            "a.txt",
            "b.JPG",
            "b.caption",
            "c.webp",
            "c.TXT",
            "c.caption",
            "d.gif",
            "e.png",
            "e.png.txt",
            "cafe\u{301}.png",
            "caf\u{e9}.txt",
            "sub/a.tiff",
            "f.avif",
            "notes.md",
            "lost.txt",
        ];
        let listing = Listing { names: names.map(str::to_owned).into(), ..Listing::default() };
        let (pairs, passed_over) = pair(listing, &CAPTIONS);
        let found: Vec<(&str, Option<&str>)> =
            pairs.iter().map(|pair| (pair.picture.as_str(), pair.caption.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("a.png", Some("a.txt")),
                ("b.JPG", Some("b.caption")),
                ("c.webp", Some("c.TXT")),
                ("d.gif", None),
                ("e.png", Some("e.png.txt")),
                ("cafe\u{301}.png", Some("caf\u{e9}.txt")),
                ("sub/a.tiff", None),
            ]
        );
        let said = passed_over.to_string();
        for part in [
            "1 with .avif, which is not read",
            "1 of another kind (notes.md)",
            "2 with captions but no picture",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
