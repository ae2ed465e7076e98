//! The text encoders against transformers.

use add_nn::{
    clip_text::{ClipText, ClipTextConfig},
    layers::Init,
};
use add_weights::load_into;
use burn::tensor::Device;

use crate::fixture::fixtures;

#[test]
fn text_encoders_equal_transformers() {
    for mut fixture in fixtures("text", "") {
        let device = Device::flex();
        let config: ClipTextConfig = serde_json::from_str(&fixture.config).expect("a configuration");
        let net = ClipText::new(&config, &Init::new(0, &device)).expect("a valid one");
        let net = load_into(net, fixture.weights()).expect("all parameters");
        let out = net.forward(fixture.ids("in.input_ids", &device));
        for (i, state) in out.hidden_states.into_iter().enumerate() {
            let key = format!("out.hidden.{i}");
            if fixture.has(&key) {
                fixture.check(&key, state);
            }
        }
        fixture.check("out.last_hidden_state", out.last_hidden_state);
        fixture.check("out.pooled", out.pooled);
        assert_eq!(out.text_embeds.is_some(), fixture.has("out.text_embeds"));
        if let Some(embeds) = out.text_embeds {
            fixture.check("out.text_embeds", embeds);
        }
        fixture.finish(2);
    }
}
