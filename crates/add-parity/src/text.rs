//! Family `text`: CLIP's text encoders against transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`.
//!
//! `out.hidden.N` are the embeddings (0) and the state after each layer, none of them normalised;
//! `out.last_hidden_state` is normalised, `out.pooled` is it at the end of the text, `out.text_embeds` its projection.
//! The end is `eos_token_id`, or the largest id where that is 2, as in the files made before transformers 4.24.

use add_nn::{
    clip_text::{ClipText, ClipTextConfig},
    layers::Init,
};
use add_weights::load_into;

use crate::{Fixture, ParityError, ParityRow, row::Comparison};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let config: ClipTextConfig = fixture.config()?;
    let net = ClipText::new(&config, &Init::new(0, fixture.device()))?;
    let net = load_into(net, &fixture.weights()?)?;
    let out = net.forward(fixture.ids("in.input_ids")?);
    for (i, state) in out.hidden_states.into_iter().enumerate() {
        rows.check_if_there(&format!("out.hidden.{i}"), || state);
    }
    rows.check("out.last_hidden_state", out.last_hidden_state);
    rows.check("out.pooled", out.pooled);
    if let Some(embeds) = out.text_embeds {
        rows.check("out.text_embeds", embeds);
    }
    Ok(rows.finish(|key| key.starts_with("act.").then(|| "the encoder shows whole layers only".into())))
}
