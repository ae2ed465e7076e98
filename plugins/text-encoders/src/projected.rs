//! A text tower whose pooled embedding is projected into CLIP's common space of pictures and texts.

use add_nn::clip_text::ClipTextOutput;
use add_plugin::{Conditioning, TextNetwork};
use burn::module::Module;

use crate::released::Tower;

/// The tower, built with a projection.
#[derive(Module, Debug)]
pub(crate) struct Projected {
    tower: Tower,
}

impl Projected {
    pub(crate) fn boxed(tower: Tower) -> Box<dyn TextNetwork> {
        Box::new(Self { tower })
    }
}

impl TextNetwork for Projected {
    fn encode(&self, captions: &[String]) -> Conditioning {
        conditioning(self.tower.forward(captions))
    }

    fn encode_windows(&self, caption: &str) -> Conditioning {
        conditioning(self.tower.forward_windows(caption, 1)).joined()
    }

    fn left_out(&self, caption: &str) -> Option<String> {
        self.tower.left_out(caption)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        Box::new(self.clone())
    }
}

fn conditioning(output: ClipTextOutput) -> Conditioning {
    let pooled = output.text_embeds.expect("the configuration asks for a projection");
    Conditioning::new(output.last_hidden_state, pooled)
}
