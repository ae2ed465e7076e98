//! Training methods: what follows from the one list of a method's networks.

use add_core::{
    read::{LoadedRecipe, parse, read},
    rehearsal::check_networks,
    weights::{Use, needed},
};

use crate::root;

/// A shipped recipe with changes.
fn recipe(name: &str, sets: &[&str]) -> LoadedRecipe {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    read(&root().join("configs").join(name), &sets).expect("a recipe")
}

/// A second model for the emoji recipe.
const OTHER: &str = "objective.teacher.model=Other(backbone: Mini(prediction: V, channels: [16], layers: 1, \
                     attending_levels: 0, heads: 1, detail: 1), schedule: ScaledLinear(), weights: Random())";

#[test]
fn a_plan_counts_the_networks_that_are_assembled() {
    for sets in [
        &[][..],
        &["model.adapter=Lora(rank: 2)"],
        &["model.adapter=Lora(rank: 2)", "dtype=(model: BF16, teacher: F32)"],
        &[OTHER],
        &["objective.adversarial.image_encoder=Network(MobileNetV2(blocks: [1], embedding_block: 1))"],
        &["objective.adversarial.image_condition=Off", "objective.adversarial.text_condition=false"],
        &["objective.distillation.space=PixelBy(Identity())"],
        &["objective.distillation.space=Latent", "dtype=(features: BF16)"],
        &[
            "objective.adversarial.features=TeacherFeatures(blocks: [\"mid_block\"])",
            "objective.adversarial.image_condition=Off",
        ],
        &["objective.adversarial.text_encoder=Encoder(Mini(layers: 1, width: 16, heads: 1, tokens: 8))"],
    ] {
        let loaded = recipe("emoji.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
    }
    check_networks(&recipe("pretrain/emoji-teacher.ron", &[])).expect("pretraining");
    for sets in [
        &[][..],
        &["dtype=(model: BF16, teacher: BF16)"],
        &["objective.target=Student"],
        &["objective.target=Student", "model.adapter=Lora(rank: 2)"],
        &[
            "model.backbone=Mini(guidance_embedding: 32)",
            "objective.guidance=Uniform(3, 15)",
            "evaluation.rows=[]",
        ],
    ] {
        let loaded = recipe("methods/emoji-consistency.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("consistency, {sets:?}: {error}"));
    }
    for sets in
        [&[][..], &["dtype=(model: BF16, teacher: BF16)"], &["objective.guidance=None", "run.steps=200"]]
    {
        let loaded = recipe("methods/emoji-progressive.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("progressive, {sets:?}: {error}"));
    }
    for sets in [
        &[][..],
        &["dtype=(features: BF16)"],
        &["objective.ema_home=Host", "codec=MiniVae(channels: [8, 16])"],
    ] {
        let loaded = recipe("pretrain/emoji-vae.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("autoencoder, {sets:?}: {error}"));
    }
    for sets in [
        &[][..],
        &["dtype=(model: BF16, teacher: BF16)"],
        &["objective.gan=None"],
        &["objective.gan.blocks=[\"mid_block\", \"up_blocks.0\"]"],
    ] {
        let loaded = recipe("methods/emoji-dmd2.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("dmd2, {sets:?}: {error}"));
    }
    for sets in [&[][..], &["dtype=(model: BF16, teacher: BF16)"], &["objective.perceptual=None"]] {
        let loaded = recipe("methods/emoji-reflow.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("reflow, {sets:?}: {error}"));
    }
    check_networks(&recipe("methods/emoji-cfg-aware.ron", &[])).expect("CFG-aware step distillation");
    check_networks(&recipe("methods/emoji-gan.ron", &[])).expect("a GAN without a teacher");
    check_networks(&recipe("methods/emoji-ladd.ron", &[])).expect("LADD");
    for sets in [&[][..], &["dtype=(model: BF16)"]] {
        let loaded = recipe("methods/emoji-diffusion-gan.ron", sets);
        check_networks(&loaded).unwrap_or_else(|error| panic!("diffusion GAN, {sets:?}: {error}"));
    }
    let sampling = recipe("emoji.ron", &["objective=Off()"]);
    check_networks(&sampling).expect("sampling alone");
}

#[test]
fn what_a_run_reads_follows_from_its_networks() {
    let parts = |wanted_for| -> Vec<&str> {
        let needed = needed(&recipe("add-m.ron", &[]), wanted_for).expect("places");
        needed.into_iter().map(|needed| needed.part).collect()
    };
    assert_eq!(
        parts(Use::Training),
        ["student", "text encoder", "feature network", "text for the heads", "image encoder", "codec"]
    );
    assert_eq!(parts(Use::Sampling), ["denoiser", "text encoder", "codec"]);
    assert_eq!(parts(Use::SamplingTrained), ["text encoder", "codec"]);
}

#[test]
fn a_method_that_is_not_linked_is_named_with_those_that_are() {
    let text = std::fs::read_to_string(root().join("configs/emoji.ron")).expect("the recipe");
    let error =
        parse(&text.replace("objective: Add(", "objective: Ad("), "emoji.ron").expect_err("no such method");
    let said = format!("{:?}", miette::Report::new(error));
    assert!(said.contains("no Method named `Ad`") && said.contains("did you mean `Add`?"), "{said}");
}

/// A teacher with latents and text of its own, small enough to be assembled.
const PIPELINE: &str = "objective.teacher.model=Pipeline(model: (backbone: Mini(prediction: V, channels: [16], layers: 1, \
                        attending_levels: 0, heads: 1, detail: 1), schedule: ScaledLinear(), weights: Random()), text: \
                        Mini(layers: 1, width: 8, heads: 1, tokens: 5), codec: Identity())";

#[test]
fn a_teacher_may_have_a_codec_and_a_text_encoder_of_its_own() {
    let loaded =
        recipe("emoji.ron", &[PIPELINE, "objective.teacher.noise_correlation=0", "batch=4", "replicas=1"]);
    check_networks(&loaded).expect("a teacher's own text encoder and codec");
    add_core::rehearsal::train(&loaded, 1).expect("two steps");
}

#[test]
fn what_assembly_would_refuse_is_refused_when_the_recipe_is_read() {
    let path = root().join("configs/emoji.ron");
    let critic = "objective.adversarial.features=TeacherFeatures(blocks: [\"up_blocks.9\"])";
    for (sets, words) in [
        (&[PIPELINE][..], "noise lies in other latents"),
        (&[PIPELINE, "objective.distillation.space=Latent"], "different latents, Identity and Identity"),
        (&["model.weights=Random()"], "ADD, Table 1c"),
        (&[critic], "has no block `up_blocks.9`"),
        (&["objective.adversarial.features=Dino()"], "nor a Critic (linked: TeacherFeatures)"),
        (&["objective.distillation.lambda=Balanced(ratio: 0)"], "expected a number above 0"),
    ] {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let error = read(&path, &sets).expect_err(words);
        assert!(error.is_usage(), "{error}");
        let said = format!("{:?}", miette::Report::new(error)).replace(['\n', '│'], " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "expected {words:?} in: {said}");
    }
}
