//! Training of a codec: resumed anywhere it leaves the same, what it leaves is a codec, and that is measured.

use std::{fs, path::Path};

use add_core::{
    assemble,
    error::CoreError,
    evaluate::{EvaluatedRows, EvaluationObserver, evaluate},
    model_file::ModelCard,
    read::{LoadedRecipe, read},
    train::model_path,
};
use add_plugin::{Draw, Pixels, Split};
use add_train::run::StartFrom;
use burn::tensor::{Device, Tensor, TensorData};

use crate::root;
use crate::runs::{go, whole_and_in_parts};

const FILE: &str = "pretrain/emoji-vae.ron";
const TINY: &str = "codec=MiniVae(channels: [8, 8, 16])";

fn codec(steps: u64, more: &[&str]) -> LoadedRecipe {
    let mut sets: Vec<String> = [
        TINY,
        "data=Emoji(size: 32)",
        "batch=16",
        "run.log_every=1",
        "run.checkpoint_every=2",
        "objective.generator.cool_down=0",
        "evaluation.samples=40",
    ]
    .map(str::to_owned)
    .into();
    sets.push(format!("run.steps={steps}"));
    sets.extend(more.iter().map(|&set| set.to_owned()));
    read(&root().join("configs").join(FILE), &sets).unwrap()
}

#[test]
fn it_resumes_to_the_bit_before_and_after_its_heads_begin() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sets) in [
        ("from the third step", &["objective.adversarial.from=2"][..]),
        ("without heads", &["objective.adversarial.weight=0"]),
        ("accumulated", &["objective.adversarial.from=0", "replicas=1", "gradient_accumulation=2"]),
    ] {
        let [whole, parts] = ["whole", "parts"].map(|part| folder.path().join(format!("{name} {part}")));
        whole_and_in_parts(&codec(4, sets), &whole, &parts);
        let models = [&whole, &parts].map(|out| fs::read(model_path(out)).unwrap());
        assert!(models[0] == models[1], "{name}: the exported codec and its scale");
        let lines = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        let figures: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for figure in ["loss_absolute", "loss_perceptual", "loss_kl", "rmse", "latent_noise", "grad_norm_g"] {
            assert!(
                figures[3][figure].as_f64().is_some_and(|x| x.is_finite() && x > 0.0),
                "{name}: {}",
                figures[3]
            );
        }
        let has = |step: usize| figures[step].get("loss_d").is_some();
        let wanted = match name {
            "from the third step" => [false, false, true, true],
            "without heads" => [false; 4],
            _ => [true; 4],
        };
        assert_eq!([0, 1, 2, 3].map(has), wanted, "{name}");
    }
}

/// The recipe whose codec is what the run in `out` has left.
fn trained(out: &Path) -> LoadedRecipe {
    let file = format!(
        "codec=MiniVae(weights: File({:?}), channels: [8, 8, 16])",
        model_path(out).display().to_string()
    );
    read(
        &root().join("configs/pretrain/emoji-latent.ron"),
        &[
            file,
            "data=Emoji(size: 32)".to_owned(),
            "model.backbone=Mini(latent_channels: Some(4), channels: [16, 32])".to_owned(),
        ],
    )
    .unwrap()
}

#[test]
fn a_trained_codec_scales_its_latents_to_unit_deviation() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("codec");
    go(&codec(3, &[]), &out, &StartFrom::Fresh);
    let card = ModelCard::of(&model_path(&out)).unwrap();
    assert_eq!(card.step(), 3);
    assert!(
        card.fields().contains_key("add.codec") && !card.fields().contains_key("add.backbone"),
        "{card:?}"
    );

    let loaded = trained(&out);
    let device = Device::flex();
    let codec = assemble::codec(&loaded.recipe, &device).unwrap();
    let data = loaded.data(Split::Train).unwrap();
    let pictures = (0..256).map(|i| {
        let draw = Draw { seed: 1, step: 0, index: i };
        data.get(i as usize * 24, &draw).unwrap().pixels
    });
    let pixels = TensorData::new(pictures.flatten().collect::<Vec<f32>>(), [256, 3, 32, 32]);
    let latents = codec.encode(Pixels(Tensor::from_data(pixels, &device))).0;
    for channel in 0..4 {
        let values = latents.clone().narrow(1, channel, 1);
        let mean = values.clone().mean().into_scalar::<f32>();
        let square = values.square().mean().into_scalar::<f32>();
        let deviation = (square - mean * mean).sqrt();
        assert!(mean.abs() < 0.2 && (0.8..1.25).contains(&deviation), "{channel}: {mean} {deviation}");
    }
    // A diffusion model is trained on it.
    let sets =
        ["run.steps=1", "batch=8", "preview.prompts=[]", "objective.optimizer.cool_down=0", "cache=Off()"];
    let latent = loaded.with(&sets.map(str::to_owned)).unwrap();
    go(&latent, &folder.path().join("latent"), &StartFrom::Fresh);
}

struct Quiet;

impl EvaluationObserver for Quiet {
    fn progress(&mut self, _what: &str, _done: usize, _total: usize) {}
}

#[test]
fn its_reconstructions_are_measured_beside_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("codec");
    let metrics = "evaluation.metrics=[Reconstruction(features: MobileNetV2(blocks: [2, 4])), CaptionAccuracy(judge: \
                   EmojiJudge())]";
    let loaded = codec(2, &[metrics]);
    go(&loaded, &out, &StartFrom::Fresh);
    let measured = evaluate(&loaded, &|| Ok(model_path(&out)), EvaluatedRows::Full, &mut Quiet).unwrap();
    let figure = |split: &str, metric: &str| {
        let rows = measured.rows.iter().filter(|row| row.split == split && row.metric == metric);
        let rows: Vec<f64> = rows.map(|row| row.value).collect();
        assert_eq!(rows.len(), 1, "{split} {metric}");
        rows[0]
    };
    for split in ["train", "held-out"] {
        assert!((0.0..1.5).contains(&figure(split, "absolute-distance")));
        assert!((3.0..40.0).contains(&figure(split, "psnr")));
        assert!(figure(split, "perceptual-mobilenet") > 0.0);
        assert!((0.0..=1.0).contains(&figure(split, "accuracy-concept")));
    }
    assert!(measured.compared.is_some(), "pictures beside reconstructions");
    // Pixels come back as they were.
    let pixels = loaded.with(&[
        "codec=Identity()".to_owned(),
        "model.backbone=Mini()".to_owned(),
        "objective=Off()".to_owned(),
    ]);
    let measured =
        evaluate(&pixels.unwrap(), &|| unreachable!("nothing was trained"), EvaluatedRows::Full, &mut Quiet);
    let absolute = measured
        .unwrap()
        .rows
        .into_iter()
        .find(|row| row.model == "codec" && row.metric == "absolute-distance");
    assert!(absolute.unwrap().value.abs() < 1e-12);
}

/// What is said of the shipped recipe with these changes.
fn refused(sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    match read(&root().join("configs").join(FILE), &sets) {
        Ok(_) => panic!("{sets:?} is accepted"),
        Err(CoreError::Invalid { problems, .. }) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(other) => panic!("{sets:?}: {other}"),
    }
}

#[test]
fn a_recipe_that_cannot_hold_is_refused_when_it_is_read() {
    for (sets, said) in [
        (&["objective.kl_weight=-1"][..], "expected a number from 0 to 1000000, got -1"),
        (&["objective.perceptual_weight=-1"], "objective.perceptual_weight"),
        (&["objective.adversarial.weight=-1"], "objective.adversarial.weight"),
        (&["objective.ema_half_life=0"], "expected a number above 0, got 0"),
        (&["objective.generator.lr=0"], "objective.generator.lr"),
        (&["dtype=(codec: BF16)"], "this codec is trained"),
        (&["objective=Off()"], "has none as it is stated"),
        (&["codec=Identity()", "model.backbone=Mini()"], "cannot be trained here"),
        (&["codec=MiniVae(channels: [12, 16, 16])"], "multiples of norm_num_groups"),
    ] {
        let refusal = refused(sets);
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
}
