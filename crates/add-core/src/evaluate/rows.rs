//! One model on one set of captions: its pictures, and every figure of them.

use std::time::{Duration, Instant};

use add_data::{RgbImage, area_resize};
use add_eval::{Better, Latency, Row};
use add_plugin::{Groups, MetricValue, Picture};

use super::{
    Captions, EvaluationObserver,
    compared::Compared,
    panel::{CHUNK, Panel},
    references::picture,
    subject::{Plan, Subject},
};
use crate::error::CoreError;

/// A model on a set of captions.
pub(super) struct Measured<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) subject: &'a Subject<'a>,
    pub(super) captions: &'a Captions,
    /// Whether these are the first captions: groups are made and pictures shown of them.
    pub(super) first: bool,
    pub(super) latency: Option<Latency>,
}

impl Measured<'_> {
    /// Makes the pictures, in memory a few at a time, and measures them.
    pub(super) fn rows(
        &self,
        panel: &mut Panel,
        resamples: usize,
        compared: &mut Compared,
        observer: &mut dyn EvaluationObserver,
    ) -> Result<Vec<Row>, CoreError> {
        let Captions { split, texts, labels, .. } = self.captions;
        let (all, mut seeing) = (panel.all(), panel.unseen());
        let what = format!("{}, {} steps, {split}", self.subject.name, self.plan.steps);
        let mut spent = Duration::ZERO;
        let column = self.first.then(|| compared.column(&self.label()));
        for (i, part) in texts.chunks(CHUNK).enumerate() {
            let first = i * CHUNK;
            let began = Instant::now();
            let made = self.subject.pictures(self.plan, part, first);
            spent += began.elapsed();
            let made: Vec<RgbImage> = made.into_iter().map(|picture| self.resized(picture)).collect();
            if let Some(column) = column {
                for (picture, at) in made.iter().zip(first..) {
                    compared.add(column, at, texts, picture);
                }
            }
            let pictures: Vec<Picture> = made.into_iter().map(picture).collect();
            panel.look(&pictures, &all, &mut seeing)?;
            observer.progress(&what, first + part.len(), texts.len());
        }
        let groups = if self.first { self.groups(&panel.groups()) } else { Vec::new() };
        let values = panel.measure(&seeing.seen(), texts, labels, &groups, resamples)?;
        let seconds = spent.as_secs_f64() / texts.len().max(1) as f64;
        let peak_memory = observer.peak_memory();
        Ok(values.into_iter().map(|value| self.row(value, seconds, peak_memory)).collect())
    }

    /// For each wish, pictures of captions that are spread over the set.
    fn groups(&self, wishes: &[Groups]) -> Vec<(Groups, Vec<Vec<Picture>>)> {
        let texts = &self.captions.texts;
        let group = |wish: &Groups, which: usize| {
            let spread = (texts.len() / wish.captions).max(1);
            let caption = vec![texts[which * spread % texts.len()].clone(); wish.pictures];
            let made = self.subject.pictures(self.plan, &caption, which * wish.pictures);
            made.into_iter().map(|made| picture(self.resized(made))).collect()
        };
        wishes
            .iter()
            .map(|wish| (*wish, (0..wish.captions).map(|which| group(wish, which)).collect()))
            .collect()
    }

    /// The picture at the side at which it is measured.
    fn resized(&self, picture: RgbImage) -> RgbImage {
        let side = self.subject.measured_at(self.plan) as u32;
        if picture.width() == side { picture } else { area_resize(&picture, side, side) }
    }

    fn label(&self) -> String {
        let steps = self.plan.steps;
        format!("{}, {steps} {}", self.subject.name, if steps == 1 { "step" } else { "steps" })
    }

    fn row(&self, value: MetricValue, seconds: f64, peak_memory: Option<u64>) -> Row {
        let made_at = self.plan.measured_at.is_some_and(|side| side != self.subject.size);
        Row {
            model: self.subject.name.clone(),
            steps: self.plan.steps as u32,
            sampler: self.plan.sampler.name().to_owned(),
            guidance: self.plan.guidance,
            made_at: made_at.then_some(self.subject.size as u32),
            seconds_per_image: Some(seconds),
            latency: self.latency,
            peak_memory,
            ..figure(value, self.captions)
        }
    }
}

/// A figure with the captions that it is about.
pub(super) fn figure(value: MetricValue, captions: &Captions) -> Row {
    Row {
        split: captions.split.clone(),
        captions: (!captions.hash.is_empty()).then(|| captions.hash.clone()),
        metric: value.name,
        better: value.better.map(|better| match better {
            add_plugin::Better::Lower => Better::Lower,
            add_plugin::Better::Higher => Better::Higher,
        }),
        value: value.value,
        interval: value.interval,
        n: value.n as u64,
        ..Row::default()
    }
}
