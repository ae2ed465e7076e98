//! A device's thread: takes what waits, computes it together, and answers each.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use add_core::{
    loaded::{Call, Together},
    made_with::{PARAMETERS, Parameters},
    recipe::{Dimensions, guidance_scale},
};
use add_data::{RgbImage, encode_png};
use axum::http::StatusCode;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::{
    Job, Made, Order, Progress, Reply, Resident,
    queue::{Next, Queue},
};
use crate::{ApiError, metrics::Metrics};

/// Works until the queue is closed.
pub(super) fn work(queue: &Queue, models: &[Resident], metrics: &Metrics) {
    while let Some(Next { jobs, given_up }) = queue.next() {
        metrics.cancelled(given_up);
        queue.set_progress(Some(Progress::default()));
        // A mistake in a network must not take the other requests with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| compute(queue, models, &jobs, metrics)));
        queue.set_progress(None);
        if outcome.is_err() {
            metrics.failed();
            let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the picture could not be computed");
            for job in &jobs {
                job.reply(Reply::Failed(error.clone()));
            }
        }
    }
}

/// Computes orders that are alike.
fn compute(queue: &Queue, models: &[Resident], jobs: &[Job], metrics: &Metrics) {
    let order = &jobs[0].order;
    let Some(resident) = models.iter().find(|resident| resident.place == order.model) else { return };
    let began = Instant::now();
    let recipe = &resident.about.recipe.recipe;
    let together = Together {
        sampler: &*resident.about.samplers[order.sampler],
        steps: order.steps,
        guidance: order.guidance,
        size: order.size,
        strength: order.strength,
    };
    let wishes: Vec<_> = jobs.iter().flat_map(|job| job.order.wishes.iter().cloned()).collect();
    let mut calls = 0;
    let mut watch = |call: &Call<'_>| {
        calls = call.of;
        queue.set_progress(Some(Progress { step: call.number + 1, of: call.of }));
        if queue.is_closed() || jobs.iter().all(Job::is_given_up) {
            return ControlFlow::Break(());
        }
        if call.number + 1 < call.of && jobs.iter().any(|job| job.order.previews) {
            preview(jobs, call);
        }
        ControlFlow::Continue(())
    };
    let Some(pictures) = resident.model.make(recipe, &together, &wishes, &mut watch) else {
        metrics.cancelled(jobs.len());
        return jobs.iter().for_each(|job| job.reply(Reply::Cancelled));
    };
    let rows: Vec<(&Order, usize)> = jobs.iter().flat_map(rows).collect();
    let encoded: Vec<Result<Vec<u8>, ApiError>> =
        pictures.par_iter().zip(&rows).map(|(picture, (order, row))| png(picture, order, *row)).collect();
    let ms_compute = began.elapsed().as_secs_f64() * 1e3;
    metrics.computed(wishes.len(), ms_compute);
    let mut encoded = encoded.into_iter();
    for job in jobs {
        let pictures: Result<Vec<_>, _> = encoded.by_ref().take(job.order.wishes.len()).collect();
        let ms_queue = began.duration_since(job.since).as_secs_f64() * 1e3;
        metrics.waited(ms_queue);
        job.reply(match pictures {
            Ok(pictures) => {
                Reply::Done(Made { pictures, ms_queue, ms_compute, calls, together: wishes.len() })
            }
            Err(error) => Reply::Failed(error),
        });
    }
}

/// An order with each of its rows.
fn rows(job: &Job) -> impl Iterator<Item = (&Order, usize)> {
    (0..job.order.wishes.len()).map(move |row| (&job.order, row))
}

/// Sends the estimates after a step to those who want them.
fn preview(jobs: &[Job], call: &Call<'_>) {
    let pictures = (call.estimate)();
    let all = jobs.iter().flat_map(|job| (0..job.order.wishes.len()).map(move |row| (job, row)));
    for ((job, row), picture) in
        all.skip(call.first).zip(&pictures).filter(|((job, _), _)| job.order.previews)
    {
        if let Ok(png) = encode_png(picture, &[]) {
            job.reply(Reply::Preview { picture: row, step: call.number + 1, of: call.of, png });
        }
    }
}

/// A picture as a file that says how it was made by the line of A1111's web UI. What `add sample` writes beside it is left out: a
/// server makes pictures, by other samplers and between two captions, that no command makes again.
fn png(picture: &RgbImage, order: &Order, row: usize) -> Result<Vec<u8>, ApiError> {
    let wish = &order.wishes[row];
    let [height, width] = order.size;
    let said = Parameters {
        prompt: &wish.prompt,
        negative: &wish.negative,
        seed: wish.seed,
        index: wish.index,
        steps: order.steps,
        sampler: order.about.samplers[order.sampler].name(),
        guidance: guidance_scale(order.guidance),
        size: Dimensions { width, height },
        model: &order.about.card.name,
        strength: order.strength,
    };
    let mut texts = vec![(PARAMETERS, said.line(env!("CARGO_PKG_VERSION")))];
    if let Some((other, mix)) = &wish.blend {
        texts.extend([("prompt_b", other.clone()), ("mix", mix.to_string())]);
    }
    // A zero byte would end a text chunk early.
    texts.retain(|(_, text)| !text.contains('\0'));
    let texts: Vec<(&str, &str)> = texts.iter().map(|(keyword, text)| (*keyword, text.as_str())).collect();
    encode_png(picture, &texts)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
