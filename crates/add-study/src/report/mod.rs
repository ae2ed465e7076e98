//! What the votes say: shares of every pair, ratings of every model, and how far both can be trusted.
//!
//! A tie counts as half a vote for either. Shares have Wilson's intervals; strengths have those of a bootstrap. Ratings of both
//! questions are averaged, as the ADD paper does for its Elo scores (section 4.2).

mod markdown;
mod page;
mod ratings;
mod shares;
mod warnings;

use std::{fs, io::Write, path::Path};

use add_eval::{EvalError, Outcome};
use serde::Serialize;

pub use self::{
    ratings::{Both, Estimate, ModelRow, Resampled},
    shares::{PairRow, Share, VoterRow},
};
use crate::{Ballots, Study, StudyError};

/// The report as data, and as a page.
const FILES: [&str; 2] = ["study-report.json", "report.html"];

/// What the votes of a study say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Votes that stand, each with an answer to both questions.
    pub votes: usize,
    /// People who cast them.
    pub voters: usize,
    /// Captions of the study.
    pub captions: usize,
    /// What was drawn again for the intervals of strengths.
    pub resampled: Resampled,
    /// A row for each model, in the study's order.
    pub models: Vec<ModelRow>,
    /// A row for each two models.
    pub pairs: Vec<PairRow>,
    /// A row for each voter, most votes first.
    pub by_voter: Vec<VoterRow>,
    /// What keeps the figures from being trusted.
    pub warnings: Vec<String>,
}

/// Votes on both questions of a comparison, by index of the models.
#[derive(Debug, Clone, Copy)]
struct Ballot {
    pair: (usize, usize),
    prompt: Outcome,
    quality: Outcome,
}

impl Ballot {
    fn on(&self, outcome: Outcome) -> add_eval::Vote {
        add_eval::Vote { first: self.pair.0, second: self.pair.1, outcome }
    }

    fn votes(&self) -> [add_eval::Vote; 2] {
        [self.on(self.prompt), self.on(self.quality)]
    }
}

/// Counts and rates what has been voted. The same votes give the same report.
///
/// # Errors
/// When no vote stands.
pub fn report(study: &Study, ballots: &Ballots) -> Result<Report, StudyError> {
    let votes: Vec<(&str, Ballot)> = ballots
        .standing()
        .filter_map(|vote| {
            let [prompt, quality] = [vote.prompt, vote.quality].map(|choice| vote.outcome(study, choice));
            Some((vote.voter.as_str(), Ballot { pair: vote.pair(study)?, prompt, quality }))
        })
        .collect();
    if votes.is_empty() {
        return Err(StudyError::Request("no vote stands; `add study serve` collects them".to_owned()));
    }
    let pairs = shares::pairs(study, &votes);
    let by_voter = shares::voters(ballots);
    let (models, resampled) = ratings::rate(study, &votes)?;
    let warnings = warnings::warnings(&pairs, &by_voter, ballots);
    Ok(Report {
        votes: votes.len(),
        voters: by_voter.len(),
        captions: study.captions.len(),
        resampled,
        models,
        pairs,
        by_voter,
        warnings,
    })
}

impl Report {
    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::of(self)
    }

    /// Writes `study-report.json` and `report.html` into a folder, which is made if need be.
    ///
    /// # Errors
    /// When a chart cannot be drawn or a file not be written.
    pub fn write(&self, study: &Study, folder: &Path) -> Result<(), StudyError> {
        let json = serde_json::to_string_pretty(self).map_err(|e| StudyError::Request(e.to_string()))? + "\n";
        let html = page::of(self, study)?;
        fs::create_dir_all(folder).map_err(StudyError::io(folder))?;
        for (name, text) in FILES.into_iter().zip([json, html]) {
            let path = folder.join(name);
            add_files::replace(&path, |file| file.write_all(text.as_bytes()))
                .map_err(StudyError::io(&path))?;
        }
        Ok(())
    }
}

/// A fraction as a percentage with one decimal.
fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use add_random::SplitMix64;

    use super::*;
    use crate::{
        Choice,
        folder::tests::study,
        vote::{Line, tests::vote},
    };

    /// Log-strengths by which the simulated voters choose, `p_i` proportional to their exponentials.
    const TRUE: [f64; 4] = [0.9, 0.2, -0.3, -0.8];

    fn uniform(rng: &mut SplitMix64) -> f64 {
        rng.next_u64() as f64 / u64::MAX as f64
    }

    /// Votes of 20 people, 50 each, a tenth of them ties.
    fn simulated(study: &Study, seed: u64) -> Ballots {
        let (mut rng, mut ballots) = (SplitMix64::new(seed), Ballots::default());
        for voter in 0..20 {
            let mut tasks: Vec<(usize, (usize, usize))> = (0..study.captions.len())
                .flat_map(|caption| study.pairs().into_iter().map(move |pair| (caption, pair)))
                .collect();
            for (at, (caption, (first, second))) in
                rng.choose(&mut tasks, 50).to_vec().into_iter().enumerate()
            {
                let turned = rng.below(2) == 1;
                let sides = if turned { (second, first) } else { (first, second) };
                let mut choice = || {
                    if uniform(&mut rng) < 0.1 {
                        return Choice::None;
                    }
                    let odds = (TRUE[sides.0] - TRUE[sides.1]).exp();
                    if uniform(&mut rng) < odds / (1.0 + odds) { Choice::Left } else { Choice::Right }
                };
                let (prompt, quality) = (choice(), choice());
                let voter_id = format!("voter-{voter:02}");
                let cast =
                    crate::Vote { prompt, quality, ..vote(voter * 50 + at, &voter_id, caption, sides) };
                ballots.take(study, &Line::Vote(cast));
            }
        }
        ballots
    }

    #[test]
    fn a_thousand_votes_recover_the_order_and_the_strengths() {
        let study = study(4, 60);
        let report = report(&study, &simulated(&study, 11)).expect("votes");
        assert_eq!((report.votes, report.voters, report.resampled), (1000, 20, Resampled::Voters));
        // A tenth of ties draws every odds towards even; the strengths behind what was voted, by solving for the shares.
        let drawn = |log_odds: f64| {
            let share = 0.9 / (1.0 + (-log_odds).exp()) + 0.05;
            (share / (1.0 - share)).ln()
        };
        for pair in report.models.windows(2) {
            assert!(pair[0].elo.mean > pair[1].elo.mean, "{:?}", report.models);
            assert!(pair[0].strength.mean.value > pair[1].strength.mean.value, "{:?}", report.models);
        }
        let scale = 400.0 / std::f64::consts::LN_10;
        for (model, log) in report.models.iter().zip(TRUE) {
            // The mean over the opponents of the drawn log-odds is the drawn strength, to first order.
            let against = TRUE.iter().map(|other| drawn(log - other)).sum::<f64>() / TRUE.len() as f64;
            let expected = 1000.0 + scale * against;
            let Estimate { value, low, high } = model.strength.mean;
            assert!((low..=high).contains(&expected), "{model:?}: expected {expected}");
            assert!(low < value && value < high && high - low < 120.0, "{model:?}");
        }
        let sum: f64 = report.models.iter().map(|model| model.elo.mean).sum();
        assert!((sum - 4000.0).abs() < 1e-6, "{sum}");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    }

    #[test]
    fn the_files_hold_the_same_and_reach_for_nothing() {
        let mut study = study(4, 60);
        study.models[1].name = "<b>|SDXL".to_owned();
        let mut ballots = Ballots::default();
        let mut cast = vote(1, "voter-aa", 0, (0, 2));
        cast.name = Some("<script>".to_owned());
        ballots.take(&study, &Line::Vote(cast));
        let report = report(&study, &ballots).expect("a vote");
        let folder = tempfile::tempdir().expect("a folder");
        report.write(&study, &folder.path().join("new")).expect("written");
        let read = |name: &str| fs::read_to_string(folder.path().join("new").join(name)).expect("there");
        let json: serde_json::Value = serde_json::from_str(&read("study-report.json")).expect("JSON");
        assert_eq!(json["pairs"][1]["prompt"]["wins"], 1);
        assert_eq!(json["pairs"][1]["quality"]["ties"], 1);
        let (html, markdown) = (read("report.html"), report.to_markdown());
        for part in ["model 0", "&lt;b&gt;|SDXL", "&lt;script&gt;", "<circle"] {
            assert!(html.contains(part), "{part}");
        }
        for reach in ["<script", "http:", "https:", "<link", "url(", "@import", "<b>|"] {
            assert!(!html.contains(reach), "{reach}");
        }
        assert!(markdown.contains("<b>\\|SDXL"), "{markdown}");
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
        assert!(report.warnings.iter().all(|warning| !warning.contains("  ")), "{:?}", report.warnings);
        let none = Ballots::default();
        assert!(super::report(&study, &none).unwrap_err().to_string().contains("no vote stands"));
    }
}
