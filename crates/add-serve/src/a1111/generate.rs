//! Pictures from text, and from pictures.

use axum::{
    extract::{Request, State as AppState},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{answered, chosen, fields::Rest, lists::sampler_here, model_of, state};
use crate::{
    ApiError, App,
    body::{Fields, fields},
    engine::{Handle, Made, Order},
    models::About,
    seed,
    wanted::{LARGEST, Wanted},
};

/// The web UI's own size and guidance, which clients send though nobody chose them.
const SIDE: usize = 512;
const SCALE: f64 = 7.0;

/// Pictures from text.
pub(crate) async fn txt2img(AppState(app): AppState<App>, request: Request) -> Response {
    answered(made(&app, request, From::Text).await)
}

/// Pictures from a picture and text.
pub(crate) async fn img2img(AppState(app): AppState<App>, request: Request) -> Response {
    answered(made(&app, request, From::Picture).await)
}

/// What a request begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Text,
    Picture,
}

async fn made(app: &App, request: Request, from: From) -> Result<Value, ApiError> {
    let Fields { fields, held } = fields(app, request).await?;
    let asked = shortened(&fields);
    let mut warnings = Vec::new();
    let order = order(app, Rest(fields), from, &mut warnings).await?;
    drop(held);
    let handle = Handle::default();
    state(&app.a1111).begin(handle.clone());
    let made = app.engine.make(order.clone(), handle).await?;
    let images: Vec<String> = made.pictures.iter().map(|png| STANDARD.encode(png)).collect();
    let info = info(&order, &made, &warnings).to_string();
    Ok(json!({ "images": images, "parameters": asked, "info": info, "warnings": warnings }))
}

/// The order of a request, with what was not done as it says among the warnings.
async fn order(app: &App, mut rest: Rest, from: From, warnings: &mut Vec<String>) -> Result<Order, ApiError> {
    let settings = rest.object("override_settings")?;
    let place = model_of(app, &settings, warnings)?;
    let about = place.map_or_else(|| chosen(app).1, |place| &app.models[place]);
    let pictures = [rest.count("batch_size")?, rest.count("n_iter")?].map(|count| count.unwrap_or(1));
    let first = match rest.whole("seed")? {
        None | Some(-1) => seed::random(),
        Some(seed) => u64::try_from(seed)
            .map_err(|_| ApiError::field("seed", format!("expected -1 or more, got {seed}")))?,
    };
    let sampler = [rest.text("sampler_name")?, rest.text("sampler_index")?];
    let mut wanted = Wanted {
        model: Some(about.card.name.clone()),
        negative: rest.text("negative_prompt")?.unwrap_or_default(),
        seed: first,
        count: pictures[0].saturating_mul(pictures[1]),
        steps: rest.count("steps")?,
        sampler: sampler.into_iter().flatten().find(|name| !name.is_empty()),
        ..Wanted::of(rest.text("prompt")?.unwrap_or_default())
    };
    let styles = rest.texts("styles")?;
    for style in &styles {
        match about.card.styles.iter().find(|known| *known == style) {
            Some(known) => wanted.prompt = format!("{}, {known}", wanted.prompt),
            None => warnings.push(format!("styles: there is no style {:?}", crate::wanted::shown(style))),
        }
    }
    if let Some(name) = &wanted.sampler {
        wanted.sampler = Some(sampler_here(name).to_owned());
    }
    (wanted.width, wanted.height) = (rest.count("width")?, rest.count("height")?);
    fit(about, &mut wanted, rest.number("cfg_scale")?, warnings);
    let strength = rest.number("denoising_strength")?;
    if from == From::Picture {
        let mut pictures = rest.texts("init_images")?.into_iter();
        wanted.init = pictures.next();
        wanted.strength = strength;
        if wanted.init.is_none() {
            return Err(ApiError::field("init_images", "expected a picture in base64"));
        }
        if pictures.next().is_some() {
            warnings.push("init_images: the first picture alone was taken".to_owned());
        }
        if rest.0.get("mask").is_some_and(|mask| !mask.is_null()) {
            return Err(ApiError::field("mask", "expected none: parts of a picture cannot be kept yet"));
        }
        match rest.whole("resize_mode")? {
            None | Some(0 | 1) => {}
            Some(mode) => warnings.push(format!("resize_mode: {mode} is not done; the middle was cut out")),
        }
    }
    rest.0.remove("mask");
    warnings.extend(rest.warnings());
    let mut order = wanted.order(app).await.map_err(in_their_words)?;
    // The web UI counts seeds up where this project counts indices.
    if first > LARGEST - order.wishes.len() as u64 {
        return Err(ApiError::field(
            "seed",
            format!("expected at most {LARGEST} with the pictures after it"),
        ));
    }
    for (row, wish) in order.wishes.iter_mut().enumerate() {
        (wish.seed, wish.index) = (first + row as u64, 0);
    }
    Ok(order)
}

/// Takes the model's own size and guidance where the request has the web UI's defaults and the model cannot do those.
fn fit(about: &About, wanted: &mut Wanted, scale: Option<f64>, warnings: &mut Vec<String>) {
    let card = &about.card;
    let usual = (wanted.width.unwrap_or(SIDE), wanted.height.unwrap_or(SIDE)) == (SIDE, SIDE);
    if usual && (card.max_size < SIDE || !SIDE.is_multiple_of(card.multiple_of)) {
        let size = card.size;
        if wanted.width.is_some() || wanted.height.is_some() {
            warnings.push(format!(
                "width, height: {} does not make {SIDE} x {SIDE}; it made {size} x {size}",
                card.name
            ));
        }
        (wanted.width, wanted.height) = (None, None);
    }
    wanted.guidance = scale;
    let unasked = scale.is_some_and(|scale| (scale - SCALE).abs() < f64::EPSILON);
    if !card.supports.guidance && unasked {
        wanted.guidance = None;
        let own = card.defaults.guidance;
        warnings.push(format!("cfg_scale: {} is not guided; {own} was taken in place of {SCALE}", card.name));
    }
    if !card.supports.negative && !wanted.negative.is_empty() {
        wanted.negative = String::new();
        warnings.push(format!("negative_prompt: {} is not guided; it was not looked at", card.name));
    }
}

/// A refusal with the web UI's names of the fields.
fn in_their_words(error: ApiError) -> ApiError {
    let name = match error.field.as_deref() {
        Some("negative") => "negative_prompt",
        Some("count") => "batch_size",
        Some("guidance") => "cfg_scale",
        Some("sampler") => "sampler_name",
        Some("strength") => "denoising_strength",
        Some("init") => "init_images",
        _ => return error,
    };
    ApiError { field: Some(name.to_owned()), ..error }
}

/// The request as the answer repeats it: without its pictures.
fn shortened(fields: &Map<String, Value>) -> Value {
    let mut asked = fields.clone();
    for name in ["init_images", "mask"] {
        if asked.contains_key(name) {
            asked.insert(name.to_owned(), Value::Null);
        }
    }
    Value::Object(asked)
}

/// What is known of the pictures, under the web UI's names.
fn info(order: &Order, made: &Made, warnings: &[String]) -> Value {
    let (card, wish) = (&order.about.card, &order.wishes[0]);
    let [height, width] = order.size;
    let sampler = order.about.samplers[order.sampler].name();
    let each = |of: &dyn Fn(u64) -> Value| order.wishes.iter().map(|wish| of(wish.seed)).collect::<Vec<_>>();
    let text = |seed: u64| {
        json!(format!(
            "{}\nNegative prompt: {}\nSteps: {}, Sampler: {sampler}, CFG scale: {}, Seed: {seed}, Size: {width}x{height}, \
             Model: {}",
            wish.prompt, wish.negative, order.steps, order.guidance, card.name
        ))
    };
    json!({
        "prompt": wish.prompt,
        "all_prompts": each(&|_| json!(wish.prompt)),
        "negative_prompt": wish.negative,
        "all_negative_prompts": each(&|_| json!(wish.negative)),
        "seed": wish.seed,
        "all_seeds": each(&|seed| json!(seed)),
        "subseed": -1,
        "all_subseeds": each(&|_| json!(-1)),
        "subseed_strength": 0,
        "width": width,
        "height": height,
        "sampler_name": sampler,
        "cfg_scale": order.guidance,
        "steps": order.steps,
        "batch_size": order.wishes.len(),
        "denoising_strength": order.strength,
        "sd_model_name": card.name,
        "sd_model_hash": Value::Null,
        "index_of_first_image": 0,
        "infotexts": each(&text),
        "styles": [],
        "extra_generation_params": {},
        "ms_queue": made.ms_queue,
        "ms_compute": made.ms_compute,
        "warnings": warnings,
    })
}
