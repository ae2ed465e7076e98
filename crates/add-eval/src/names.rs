//! What each metric is called in `evaluation.json`, and which way is better.
//!
//! A name says the mathematics and the network: a Frechet distance is [`FID`] only on the Inception features of
//! Heusel et al. with their preprocessing; on any other network it is `fd-<network>`, never FID, because the
//! numbers of two networks cannot be compared.

/// Which way a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Smaller is better.
    Lower,
    /// Larger is better.
    Higher,
}

/// Frechet distance on Inception V3 pool features.
pub const FID: &str = "fid";
/// Frechet distance on `MobileNetV2` features.
pub const FD_MOBILENET: &str = "fd-mobilenet";
/// Frechet distance on `DINOv2` class tokens.
pub const FD_DINO: &str = "fd-dino";
/// Unbiased kernel distance on Inception V3 pool features.
pub const KID: &str = "kid";
/// Unbiased kernel distance on `MobileNetV2` features.
pub const KD_MOBILENET: &str = "kd-mobilenet";
/// Mean cosine of picture and caption.
pub const CLIP_SCORE: &str = "clip-score";
/// Fraction of fakes on the real manifold.
pub const PRECISION: &str = "precision";
/// Fraction of reals on the fake manifold.
pub const RECALL: &str = "recall";
/// Real neighbourhoods per fake, over k.
pub const DENSITY: &str = "density";
/// Fraction of real neighbourhoods reached.
pub const COVERAGE: &str = "coverage";
/// Caption accuracy of a classifier.
pub const ACCURACY: &str = "accuracy";
/// Paired real picture within the five nearest.
pub const TOP5: &str = "top5";
/// Pixel standard deviation over noise for one caption.
pub const DIVERSITY: &str = "diversity";
/// Elo rating from human votes.
pub const ELO: &str = "elo";

/// Families by the first part of a name (up to `-` or `@`), with the better direction.
const FAMILIES: [(&str, Better); 12] = [
    ("fid", Better::Lower),
    ("fd", Better::Lower),
    ("kid", Better::Lower),
    ("kd", Better::Lower),
    ("clip", Better::Higher),
    ("precision", Better::Higher),
    ("recall", Better::Higher),
    ("density", Better::Higher),
    ("coverage", Better::Higher),
    ("accuracy", Better::Higher),
    ("top5", Better::Higher),
    ("elo", Better::Higher),
];

/// Which way `metric` improves; `None` for a name of no known family.
///
/// Diversity has no better direction: the target is the teacher's value, and noise would be the most diverse.
pub fn better(metric: &str) -> Option<Better> {
    let family = metric.split(['-', '@', '.']).next().unwrap_or(metric);
    FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, better)| *better)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_but_diversity_has_a_direction() {
        for name in [FID, FD_MOBILENET, FD_DINO, KID, KD_MOBILENET] {
            assert_eq!(better(name), Some(Better::Lower), "{name}");
        }
        for name in [CLIP_SCORE, PRECISION, RECALL, DENSITY, COVERAGE, ACCURACY, TOP5, ELO] {
            assert_eq!(better(name), Some(Better::Higher), "{name}");
        }
        assert_eq!(better(DIVERSITY), None);
        assert_eq!(better("unheard-of"), None);
    }
}
