//! Captions that are left out now and then.

use add_plugin::{Draw, Purpose};

/// `captions`, of which a `part` is replaced by the empty one; the first belongs to sample `first` of the run.
pub fn caption_dropout(captions: &[String], part: f64, seed: u64, step: u64, first: u64) -> Vec<String> {
    let draw = |i: usize| Draw { seed, step, index: first + i as u64 };
    let dropped = |i: usize| draw(i).uniform(Purpose::CaptionDropout) < part;
    captions.iter().enumerate().map(|(i, c)| if dropped(i) { String::new() } else { c.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_part_is_empty_and_the_rest_is_untouched() {
        let captions: Vec<String> = (0..4000).map(|i| i.to_string()).collect();
        let kept = caption_dropout(&captions, 0.25, 1, 2, 3);
        let empty = kept.iter().filter(|caption| caption.is_empty()).count();
        assert!((900..1100).contains(&empty), "{empty}");
        assert!(kept.iter().zip(&captions).all(|(kept, caption)| kept.is_empty() || kept == caption));
        assert_eq!(caption_dropout(&captions, 0.0, 1, 2, 3), captions);
        assert_eq!(
            caption_dropout(&captions[100..], 0.25, 1, 2, 103),
            kept[100..],
            "a part of a batch draws the same"
        );
    }
}
