//! The embedded set: 6,892 captioned emoji pictures in six styles, so that the main job needs no download.
//!
//! The pictures lie in `assets/emoji64` as lossless WebP sheets of 64 px tiles, with their NOTICE and licences;
//! at 32 px a picture is the mean of 2 x 2 blocks. Whole concepts are held out as `test_concept`, single
//! (concept, style) pairs as `test_pair`.

use std::{collections::BTreeMap, fmt, path::Path, sync::OnceLock};

use add_data::{RgbImage, area_resize, decode_rgb, to_planes};
use add_plugin::{DataSource, Dataset, Draw, Entry, Labels, PluginError, Purpose, Sample, Split, inventory};
use serde::{Deserialize, Serialize};

/// The embedded emoji pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Emoji {
    /// Side of a picture in pixels: 32 or 64.
    size: Side,
    /// Which styles to take.
    styles: Vec<Style>,
}

impl Default for Emoji {
    fn default() -> Self {
        Self { size: Side(32), styles: Style::ALL.to_vec() }
    }
}

impl Emoji {
    /// All styles at `size` pixels a side.
    ///
    /// # Errors
    /// When `size` is neither 32 nor 64.
    pub fn new(size: usize) -> Result<Self, PluginError> {
        let size = Side::try_from(size).map_err(|problem| PluginError::Field { field: "size", problem })?;
        Ok(Self { size, ..Self::default() })
    }

    /// Every caption variant of each picture of `split`, in the order of the opened data.
    pub fn captions(&self, split: Split) -> Vec<Vec<String>> {
        self.pictures(split).iter().map(|picture| picture.concept.captions(picture.style)).collect()
    }

    /// In the order of the sheets, whatever the order in the recipe; a style named twice counts once.
    fn pictures(&self, split: Split) -> Vec<Picture> {
        let mut pictures = Vec::new();
        for style in Style::ALL.into_iter().filter(|style| self.styles.contains(style)) {
            let mut of_style: Vec<_> = concepts()
                .iter()
                .filter_map(|concept| Some((concept, *concept.tiles.get(style.name())?)))
                .filter(|(_, (_, its))| *its == split)
                .map(|(concept, (tile, _))| Picture { concept, style, tile })
                .collect();
            of_style.sort_by_key(|picture| picture.tile);
            pictures.append(&mut of_style);
        }
        pictures
    }
}

inventory::submit!(Entry::data_source::<Emoji>(
    "Emoji",
    "Noto, Noto v1, Twemoji, Fluent, Fluent 3D, FxEmojis"
));

/// A side that there are pictures of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
struct Side(usize);

impl TryFrom<usize> for Side {
    type Error = String;

    fn try_from(side: usize) -> Result<Self, String> {
        match side {
            32 | 64 => Ok(Self(side)),
            other => Err(format!("emoji pictures have 32 or 64 pixels a side, got {other}")),
        }
    }
}

impl From<Side> for usize {
    fn from(side: Side) -> Self {
        side.0
    }
}

/// A family of emoji drawn in one style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Style {
    /// Noto Emoji.
    Noto,
    /// Noto Emoji v1, the blobs.
    Blob,
    /// Twitter's Twemoji.
    Twemoji,
    /// Fluent Emoji, flat.
    Fluent,
    /// Fluent Emoji, 3D.
    Fluent3d,
    /// Mozilla's `FxEmojis`.
    Fx,
}

impl Style {
    /// Every style.
    pub const ALL: [Self; 6] =
        [Self::Noto, Self::Blob, Self::Twemoji, Self::Fluent, Self::Fluent3d, Self::Fx];

    /// Its name as a label and as a sheet's file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noto => "noto",
            Self::Blob => "blob",
            Self::Twemoji => "twemoji",
            Self::Fluent => "fluent",
            Self::Fluent3d => "3d",
            Self::Fx => "fx",
        }
    }

    /// How captions speak of it.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Noto => "noto emoji",
            Self::Blob => "blob emoji",
            Self::Twemoji => "twemoji flat emoji",
            Self::Fluent => "fluent flat emoji",
            Self::Fluent3d => "glossy 3d emoji",
            Self::Fx => "firefox os emoji",
        }
    }
}

/// Tiles in a row of a sheet.
const TILES: u32 = 32;
/// Side of a tile in pixels.
const TILE: u32 = 64;

/// A sheet of tiles, decoded when its first picture is wanted.
struct Sheet {
    webp: &'static [u8],
    full: OnceLock<RgbImage>,
    half: OnceLock<RgbImage>,
}

impl Sheet {
    const fn new(webp: &'static [u8]) -> Self {
        Self { webp, full: OnceLock::new(), half: OnceLock::new() }
    }

    fn decode(&self) -> RgbImage {
        decode_rgb(self.webp).expect("the embedded sheets are whole")
    }

    /// The picture at `tile`, with `size` pixels a side.
    fn picture(&self, tile: u32, size: u32) -> RgbImage {
        let sheet = if size == TILE {
            self.full.get_or_init(|| self.decode())
        } else {
            // Tiles begin at even pixels, so halving the sheet halves each tile by itself.
            self.half.get_or_init(|| {
                let full = self.decode();
                area_resize(&full, full.width() / 2, full.height() / 2)
            })
        };
        let (x, y) = (tile % TILES * size, tile / TILES * size);
        RgbImage::from_fn(size, size, |i, j| *sheet.get_pixel(x + i, y + j))
    }
}

/// The sheets in the order of [`Style::ALL`].
static SHEETS: [Sheet; 6] = [
    Sheet::new(include_bytes!("../assets/emoji64/noto.webp")),
    Sheet::new(include_bytes!("../assets/emoji64/blob.webp")),
    Sheet::new(include_bytes!("../assets/emoji64/twemoji.webp")),
    Sheet::new(include_bytes!("../assets/emoji64/fluent.webp")),
    Sheet::new(include_bytes!("../assets/emoji64/3d.webp")),
    Sheet::new(include_bytes!("../assets/emoji64/fx.webp")),
];

/// What is drawn, in all of its styles: one line of `concepts.jsonl.gz`.
#[derive(Debug, Deserialize)]
struct Concept {
    name: String,
    tags: Vec<String>,
    category: String,
    subcategory: String,
    /// Tile and split by the name of the sheet.
    tiles: BTreeMap<String, (u32, Split)>,
}

fn concepts() -> &'static [Concept] {
    static CONCEPTS: OnceLock<Vec<Concept>> = OnceLock::new();
    CONCEPTS.get_or_init(|| {
        const WHOLE: &str = "the embedded list is whole";
        let lines = add_files::unpack(include_bytes!("../assets/emoji64/concepts.jsonl.gz")).expect(WHOLE);
        serde_json::Deserializer::from_slice(&lines)
            .into_iter()
            .map(|concept| concept.expect(WHOLE))
            .collect()
    })
}

impl Concept {
    /// The ways to say it; the first one names the concept and the style.
    fn captions(&self, style: Style) -> Vec<String> {
        let (name, phrase) = (&self.name, style.phrase());
        let mut all = vec![format!("{name}, {phrase}"), name.clone(), format!("a {phrase} of {name}")];
        if !self.tags.is_empty() {
            all.push(format!("{name}, {}, {phrase}", self.tags.join(", ")));
        }
        all
    }
}

impl DataSource for Emoji {
    fn open_beside(&self, split: Split, _base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        if self.styles.is_empty() {
            let problem = "expected at least one style, such as `Noto`, got none".to_owned();
            return Err(PluginError::Field { field: "styles", problem });
        }
        Ok(Box::new(EmojiSplit { pictures: self.pictures(split), size: self.size.0 }))
    }

    fn size(&self) -> usize {
        self.size.0
    }

    fn styles(&self) -> Vec<String> {
        let styles = Style::ALL.into_iter().filter(|style| self.styles.contains(style));
        styles.map(|style| style.phrase().to_owned()).collect()
    }
}

struct Picture {
    concept: &'static Concept,
    style: Style,
    tile: u32,
}

struct EmojiSplit {
    pictures: Vec<Picture>,
    size: usize,
}

impl fmt::Debug for EmojiSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} emoji of {} px", self.pictures.len(), self.size)
    }
}

impl Dataset for EmojiSplit {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let Some(Picture { concept, style, tile }) = self.pictures.get(index) else {
            let problem = format!("there are only {}", self.pictures.len());
            let file = "the embedded sheets".to_owned();
            return Err(PluginError::Sample { index, file, problem });
        };
        let picture = SHEETS[*style as usize].picture(*tile, self.size as u32);
        let mut captions = concept.captions(*style);
        let caption = captions.swap_remove(draw.below(Purpose::Sample, captions.len()));
        Ok(Sample { pixels: to_planes(&picture), size: self.size, caption })
    }

    fn caption(&self, index: usize) -> String {
        let Picture { concept, style, .. } = &self.pictures[index];
        concept.captions(*style).swap_remove(0)
    }

    /// `category`, `subcategory`, `style`, `concept`, and `category-style`, which joins two by a space.
    fn labels(&self, index: usize) -> Labels {
        let Picture { concept, style, .. } = &self.pictures[index];
        vec![
            ("category", concept.category.clone()),
            ("subcategory", concept.subcategory.clone()),
            ("style", style.name().to_owned()),
            ("concept", concept.name.clone()),
            ("category-style", format!("{} {}", concept.category, style.name())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use add_plugin::Plugin;
    use ron::extensions::Extensions;

    use super::*;

    const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

    fn open(size: usize, split: Split) -> Box<dyn Dataset> {
        Emoji::new(size).and_then(|emoji| emoji.open(split)).expect("embedded")
    }

    #[test]
    fn splits_have_their_sizes_and_share_no_picture() {
        let splits = [Split::Train, Split::TestPair, Split::TestConcept].map(|split| open(32, split));
        assert_eq!(splits.each_ref().map(|s| s.len()), [6306, 344, 242]);
        let all: BTreeSet<_> = splits.iter().flat_map(|s| (0..s.len()).map(|i| s.caption(i))).collect();
        assert_eq!(all.len(), 6892);
    }

    #[test]
    fn test_pair_knows_its_concepts_and_test_concept_does_not() {
        let names = |split| {
            let data = open(32, split);
            (0..data.len()).map(|i| data.labels(i)[3].1.clone()).collect::<BTreeSet<_>>()
        };
        let train = names(Split::Train);
        assert!(names(Split::TestPair).is_subset(&train));
        assert!(names(Split::TestConcept).is_disjoint(&train));
    }

    #[test]
    fn captions_come_in_every_variant_and_the_fixed_one_is_the_first() {
        let train = open(32, Split::Train);
        let seen: BTreeSet<_> =
            (0..60).map(|index| train.get(0, &Draw { index, ..DRAW }).expect("embedded").caption).collect();
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            [
                "a noto emoji of grinning face",
                "grinning face",
                "grinning face, cheerful, cheery, happy, noto emoji",
                "grinning face, noto emoji",
            ]
        );
        assert_eq!(train.caption(0), "grinning face, noto emoji");
        assert_eq!(train.labels(0)[0], ("category", "smileys-emotion".to_owned()));
    }

    #[test]
    fn a_small_picture_is_the_block_mean_of_the_large_one() {
        let [small, large] = [32, 64].map(|size| open(size, Split::TestPair));
        for index in [0, 100, 343] {
            let small = small.get(index, &DRAW).expect("embedded").pixels;
            let large = large.get(index, &DRAW).expect("embedded").pixels;
            for (c, y, x) in [(0, 0, 0), (1, 17, 9), (2, 31, 31), (0, 16, 16)] {
                let at = |dy, dx| large[c * 4096 + (2 * y + dy) * 64 + 2 * x + dx];
                let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0;
                assert!((small[c * 1024 + y * 32 + x] - mean).abs() < 0.51 / 127.5);
            }
        }
    }

    #[test]
    fn pictures_have_white_corners_and_something_in_the_middle() {
        let data = open(32, Split::TestConcept);
        let mut coloured = 0;
        for index in 0..data.len() {
            let pixels = data.get(index, &DRAW).expect("embedded").pixels;
            assert_eq!(pixels.len(), 3 * 32 * 32);
            coloured += usize::from(pixels.iter().filter(|&&v| v < 0.5).count() > 100);
        }
        assert_eq!(coloured, data.len(), "a tile beyond the end of a sheet is blank");
    }

    #[test]
    fn a_recipe_names_sizes_and_styles() {
        let read = |recipe| {
            let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
            options.from_str::<Plugin<dyn DataSource>>(recipe)
        };
        let emoji = read("Emoji(size: 64, styles: [Fx, Noto])").expect("valid");
        assert_eq!((emoji.size(), emoji.open(Split::TestPair).expect("embedded").len()), (64, 11 + 74));
        let wrong = read("Emoji(size: 48)").unwrap_err().to_string();
        assert!(wrong.contains("32 or 64 pixels a side, got 48"), "{wrong}");
        let none = read("Emoji(styles: [])").expect("a list");
        assert!(matches!(none.open(Split::Train), Err(PluginError::Field { field: "styles", .. })));
    }

    #[test]
    fn an_index_beyond_the_end_is_an_error() {
        assert!(matches!(open(32, Split::Train).get(6306, &DRAW), Err(PluginError::Sample { .. })));
    }
}
