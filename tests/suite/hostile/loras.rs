//! Files of LoRAs and their relatives.

use std::path::Path;

use super::{Hostile, emoji, text};

impl Hostile {
    /// `add sample` refuses the file as a LoRA.
    fn lora(&mut self, path: &Path, reason: &str) {
        let sample = ["sample", &emoji(), "--prompt", "a", "--lora", text(path), "--grid", "never.png"];
        self.refuses(&sample, reason);
    }

    /// A safetensors file of these tensors, all zeros, each in F32.
    fn tensors(&self, tensors: &[(&str, &[usize])], fill: u8) -> std::path::PathBuf {
        let mut end = 0;
        let entries: Vec<String> = tensors
            .iter()
            .map(|(name, shape)| {
                let start = end;
                end += 4 * shape.iter().product::<usize>();
                format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
            })
            .collect();
        let header = format!("{{{}}}", entries.join(","));
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![fill; end]].concat();
        self.write("lora.safetensors", bytes)
    }
}

const LAYER: &str = "lora_unet_denoiser_unet_conv_in";

#[test]
fn no_lora_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let name = |end: &str| format!("{LAYER}.{end}");
    let (up, down, alpha) = (name("lora_up.weight"), name("lora_down.weight"), name("alpha"));
    let (one, two, core) = (name("lokr_w1"), name("lokr_w2"), name("lora_mid.weight"));
    let (a, b, c, d) = (name("hada_w1_a"), name("hada_w1_b"), name("hada_w2_a"), name("hada_w2_b"));
    let large: &[usize] = &[1 << 31, 0];
    for (tensors, reason) in [
        (&[][..], "no LoRA"),
        (&[("x", &[1][..])], "no LoRA"),
        (&[(&up, &[64, 1][..])], "no factor to be multiplied with"),
        (&[(&alpha, &[1][..])], "no factor to be multiplied with"),
        (&[(&up, &[64, 1][..]), (&down, &[2, 108])], "rank 1"),
        (&[(&up, &[64, 0][..]), (&down, &[0, 108])], "rank 0"),
        (&[(&up, &[64][..]), (&down, &[1, 108])], "expected a matrix"),
        (&[(&up, &[][..]), (&down, &[])], "expected a matrix"),
        (&[(&up, &[64, 1][..]), (&down, &[1, 107])], "[64, 107]"),
        (&[(&up, &[64, 1][..]), (&down, &[1, 108]), (&alpha, &[0])], "expected one number, found 0"),
        (&[(&up, &[64, 1][..]), (&down, &[1, 12]), (&core, &[1, 0, 3, 3])], "do not fit each other"),
        (&[(&up, &[64, 1][..]), (&down, &[1, 12]), (&core, &[1, 1])], "[64, 12]"),
        (&[(&one, large), (&two, large)], "["),
        (&[(&one, large), (&two, &[1 << 40, 0])], "beyond all models"),
        (&[(&a, &[64, 1][..]), (&b, &[1, 108]), (&c, &[64, 1]), (&d, &[1, 107])], "two matrices"),
        (&[(&a, &[64, 1][..]), (&b, &[1, 108])], "no factor to be multiplied with"),
        (
            &[("lora_unet_x.lora_up.weight", &[1, 1][..]), ("lora_unet_x.lora_down.weight", &[1, 1])],
            "no place",
        ),
        (
            &[("lora_te_x.lora_up.weight", &[1, 1][..]), ("lora_te_x.lora_down.weight", &[1, 1])],
            "text encoder",
        ),
    ] as [(&[(&str, &[usize])], &str); 18]
    {
        let path = hostile.tensors(tensors, 0);
        hostile.lora(&path, reason);
    }
    // Bytes of 0xFF are no numbers.
    let path = hostile.tensors(&[(&up, &[64, 1]), (&down, &[1, 108])], 0xFF);
    hostile.lora(&path, "expected a finite number");
    // More layers than any model has.
    let many: Vec<String> = (0..20_001).map(|i| format!("lora_unet_{i}.alpha")).collect();
    let many: Vec<(&str, &[usize])> = many.iter().map(|name| (name.as_str(), &[][..])).collect();
    let path = hostile.tensors(&many, 0);
    hostile.lora(&path, "at most 20000 tensors");
    // peft's settings, which stand beside its file.
    hostile.write("adapter_config.json", "[".repeat(100_000));
    let peft = hostile.write(
        "adapter_model.safetensors",
        std::fs::read(hostile.tensors(&[(&up, &[64, 1]), (&down, &[1, 108])], 0)).unwrap(),
    );
    hostile.lora(&peft, "peft's settings");
    hostile.check(21);
}
