//! Family `tokens`: CLIP's byte-pair encoding against transformers' slow `CLIPTokenizer` with ftfy.
//!
//! `<name>_rows.json` lists the prompts with the ids of several tokenizers, with start and end and without padding.
//! `ids_pad_eos` (SD1.5), `ids_pad_zero` (SD2.1, SDXL's second encoder) and `mask` are `[prompts, length]` of the
//! slow tokenizer, for which what pads is special: where it is `!`, each `!` of a prompt is that token. `openclip_ids` are those of `open_clip`, which reads a special token that is written out as plain
//! text: compared on the prompts on which the two libraries agree. `vocab.json`, where it is there, must give every
//! token its id.

use std::collections::BTreeMap;

use serde::Deserialize;
use text_encoders::{ClipBpe, END};

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, Tolerance, largest_difference, nothing},
};

/// A prompt with its ids.
#[derive(Deserialize)]
struct Encoded {
    prompt: String,
    hf_slow: Vec<u32>,
    open_clip: Vec<u32>,
}

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let file = format!("{}_rows.json", fixture.name());
    let prompts: Vec<Encoded> =
        fixture.json_beside(&file)?.ok_or_else(|| ParityError::MissingFile(file.clone()))?;
    let tokenizer = ClipBpe::shared();
    let shape = fixture.shape("ids_pad_eos")?;
    let [_, length @ 1..=usize::MAX] = shape[..] else {
        return Err(ParityError::content("ids_pad_eos", "ids [prompts, length]", format!("shape {shape:?}")));
    };
    let padded = |pad: u32| -> Vec<f64> {
        prompts.iter().flat_map(|p| tokenizer.padded(&p.prompt, length, pad)).map(f64::from).collect()
    };
    let exact = Tolerance::Absolute(0.0);
    rows.check_values("ids_pad_eos", &padded(END), exact);
    rows.check_values("ids_pad_zero", &padded(0), exact);
    let used = |p: &Encoded| (tokenizer.ids(&p.prompt).len() + 2).min(length);
    let mask: Vec<f64> = prompts
        .iter()
        .flat_map(|p| {
            let used = used(p);
            (0..length).map(move |i| f64::from(u8::from(i < used)))
        })
        .collect();
    rows.check_values("mask", &mask, exact);

    let slow = prompts.iter().filter(|p| tokenizer.padded(&p.prompt, used(p), END) != p.hf_slow).count();
    rows.record(&format!("{file}: prompts with other ids"), slow as f64, 0.0);
    compare_open_clip(fixture, &mut rows, &prompts, length)?;
    if let Some(vocabulary) = fixture.json_beside::<BTreeMap<String, u32>>("vocab.json")? {
        let other = vocabulary.iter().filter(|(token, id)| tokenizer.id(token) != Some(**id)).count();
        rows.record("vocab.json: tokens with other ids", other as f64, 0.0);
    }
    Ok(rows.finish(nothing))
}

fn compare_open_clip(
    fixture: &Fixture,
    rows: &mut Comparison,
    prompts: &[Encoded],
    length: usize,
) -> Result<(), ParityError> {
    let expected = fixture.numbers("openclip_ids")?.values;
    if expected.len() != prompts.len() * length {
        rows.fail("openclip_ids", format!("expected {} prompts of {length} ids", prompts.len()));
        return Ok(());
    }
    let (mut got, mut agreed) = (Vec::new(), Vec::new());
    for (p, expected) in prompts.iter().zip(expected.chunks_exact(length)) {
        if p.open_clip == p.hf_slow {
            // Zeros after the end are no token to it, so `!` stays what it is.
            let used = (ClipBpe::shared().ids(&p.prompt).len() + 2).min(length);
            let mut ids = ClipBpe::shared().padded(&p.prompt, used, END);
            ids.resize(length, 0);
            got.extend(ids.into_iter().map(f64::from));
            agreed.extend(expected);
        }
    }
    let key = format!("openclip_ids ({} of {} prompts)", agreed.len() / length, prompts.len());
    rows.record(&key, largest_difference(&got, &agreed), 0.0);
    Ok(())
}
