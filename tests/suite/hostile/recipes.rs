//! Recipes and `--set`.

use std::process::Command;

use super::{Hostile, TINY, emoji, text};

/// An unsound place in the tiny recipe: what is replaced, by what, and the reason.
const PLACES: [(&str, &str, &str); 33] = [
    ("batch: 2", "batch: 4000000000000000000", "batch: expected at most 65536"),
    ("batch: 2", "batch: -2", "tiny.ron:8"),
    ("batch: 2", "batch: 1e3", "tiny.ron:8"),
    ("batch: 2", "batch: 18446744073709551616", "tiny.ron:8"),
    ("batch: 2", "batch: 65536, replicas: 65536", "replicas: expected at most 256"),
    ("batch: 2", "batch: 2, seed: -1", "tiny.ron:8"),
    ("batch: 2", "batch: 2, batch: 3", "batch"),
    ("size: 32", "size: 1000000000", "size"),
    ("size: 32", "size: 0", "size"),
    (
        "data: Emoji(size: 32)",
        "data: ImageFolder(path: \".\", size: 1000000000)",
        "data.size: expected at most 4096",
    ),
    ("data: Emoji(size: 32)", "data: Emjoi()", "did you mean"),
    ("data: Emoji(size: 32)", "data: r#\"", "tiny.ron"),
    ("channels: [16]", "channels: []", "channels: expected 1 to 8"),
    ("channels: [16]", "channels: [16000000000]", "channels: expected 1 to 4096"),
    ("channels: [16]", "channels: [16, 16, 16, 16, 16, 16, 16, 16, 16]", "expected a multiple of 256"),
    ("channels: [16]", "channels: [17]", "channels"),
    ("layers: 1, attending", "layers: 1000000000000, attending", "layers: expected 1 to 16"),
    ("heads: 1, detail", "heads: 0, detail", "heads: expected 1"),
    ("detail: 1", "detail: 1000000000000", "detail: expected 1 to 4096"),
    ("layers: 1, width", "layers: 18446744073709551615, width", "layers: expected 1 to 64"),
    ("width: 16", "width: 1000000000000", "width: expected 1 to 4096"),
    ("tokens: 8", "tokens: 1000000000000", "tokens: expected 3 to 77"),
    ("ScaledLinear()", "ScaledLinear(steps: 1000000000000)", "at most 100000 steps"),
    ("ScaledLinear()", "ScaledLinear(beta_start: NaN)", "between 0 and 1, got NaN"),
    (
        "ScaledLinear()",
        "ZeroTerminalSnr(inner: ScaledLinear(beta_start: 1e-300, beta_end: 1e-300))",
        "expected a number from",
    ),
    ("Random()", "File(\"../../../../../../etc/passwd\")", "passwd"),
    ("Random()", "File(\"/dev/zero\")", "found a pipe or device"),
    ("Diffusion()", "Diffusion(ema_half_life: inf)", "ema_half_life"),
    (
        "Diffusion()",
        "Diffusion(optimizer: (lr: NaN))",
        "objective.optimizer.lr: expected a number above 0, got NaN",
    ),
    ("Ddim(), steps: 1", "Ddim(), steps: 1000000000000", "sampling.steps: expected at most 1000"),
    ("run: (steps: 1)", "run: (steps: 1, log_every: 0)", "run.log_every: expected a positive number"),
    ("name: \"hostile\"", "name: \"../../x\"", "name: expected letters"),
    ("name: \"hostile\"", "name: \".\"", "name: expected letters"),
];

#[test]
fn no_value_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let sound = TINY.replace("DATA", "Emoji(size: 32)");
    for (place, odd, reason) in PLACES {
        assert!(sound.contains(place), "{place}");
        let path = hostile.write("tiny.ron", sound.replacen(place, odd, 1));
        hostile.refuses(&["train", text(&path), "--out", "run"], reason);
    }
    let prompts = format!("batch: 2, preview: (prompts: [{:?}])", "x".repeat(5000));
    let path = hostile.write("tiny.ron", sound.replace("batch: 2", &prompts));
    hostile.refuses(
        &["train", text(&path), "--out", "run"],
        "preview.prompts.0: expected at most 2000 characters",
    );
    hostile.check(34);
}

#[test]
fn a_text_encoder_of_other_widths_is_refused_before_anything_is_fetched() {
    let mut hostile = Hostile::new();
    let recipe = |backbone: &str, text: &str| {
        format!(
            "(name: \"x\", data: ImageFolder(path: \".\", size: 64), codec: KlVae(weights: \"x\", scaling_factor: 0.13025), \
             text: {text}, sampling: (sampler: Ddim(), steps: 1), \
             model: (backbone: {backbone}, schedule: ScaledLinear(), weights: Random()), objective: Off(), run: (steps: 1))"
        )
    };
    let own = "ClipLBigG(weights: \"x\")";
    let pooled = format!("PooledFrom(tokens: {own}, pooled: OpenClipG(weights: \"x\"))");
    for (backbone, text_encoder, reason) in [
        ("Sdxl()", pooled.as_str(), "pooled embedding of width 1280, the text encoder gives 1024"),
        ("Sd21()", own, "token states of width 1024, the text encoder gives 2048"),
    ] {
        let path = hostile.write("recipe.ron", recipe(backbone, text_encoder));
        hostile.refuses(&["config", "check", text(&path)], reason);
        hostile.refuses(&["config", "check", text(&path)], "model.backbone");
    }
    hostile.check(2);
}

#[test]
fn no_text_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let nested =
        |open: &str, close: &str, n: usize| format!("(name: {}1{})", open.repeat(n), close.repeat(n));
    for (bytes, reason) in [
        (Vec::new(), "recipe.ron:1:1"),
        (b"\xFF\xFE(\x00".to_vec(), "recipe.ron:1"),
        (b"\xFF\xFE(\x00(".to_vec(), "expected UTF-8"),
        (b"\xFF\xFE\x00\xD8".to_vec(), "expected UTF-8"),
        (b"\xEF\xBB\xBF(".to_vec(), "recipe.ron:1"),
        (b"(name: \"a\xC3\x28\")".to_vec(), "byte 9"),
        (vec![0; 4096], "recipe.ron:1:1"),
        (vec![b' '; 17 << 20], "at most 1048576 bytes"),
        (vec![b'('; 1 << 20], "recipe.ron"),
        (nested("(", ")", 100_000).into_bytes(), "recipe.ron:1"),
        (nested("[", "]", 100_000).into_bytes(), "recipe.ron:1"),
        (nested("Some(", ")", 100_000).into_bytes(), "recipe.ron:1"),
        (format!("(name: \"a\", data: {}", "X(inner: ".repeat(50_000)).into_bytes(), "recipe.ron:1"),
        (
            format!("(data: Emoji(), model: (schedule: {}", "ZeroTerminalSnr(inner: ".repeat(40_000))
                .into_bytes(),
            "recipe.ron:1",
        ),
        (format!("(name: \"{}\")", "a".repeat(1_000_000)).into_bytes(), "recipe.ron:1"),
        ("/*".repeat(100_000).into_bytes(), "recipe.ron"),
        (b"#![enable(everything)]\n()".to_vec(), "recipe.ron:1"),
        (b"(name: \"\\u{110000}\")".to_vec(), "recipe.ron:1"),
        (b"(name: \"\\x\")".to_vec(), "recipe.ron:1"),
        (b"(nam\xCC\x81e: 1)".to_vec(), "recipe.ron:1"),
        ("\u{202e}(name: \u{2028}".into(), "recipe.ron"),
        (b"{}".to_vec(), "recipe.ron:1"),
    ] {
        let path = hostile.write("recipe.ron", bytes);
        hostile.refuses(&["train", text(&path), "--out", "run"], reason);
    }
    hostile.refuses(&["train", ".", "--out", "run"], "found a folder");
    hostile.refuses(&["train", "/dev/zero", "--out", "run"], "found a pipe or device");
    let pipe = hostile.path("pipe.ron");
    if Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        hostile.refuses(&["train", text(&pipe), "--out", "run"], "found a pipe or device");
    }
    hostile.check(22);
}

#[test]
fn no_recipe_on_top_of_another_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    hostile.write("sound.ron", TINY.replace("DATA", "Emoji(size: 32)"));
    let values = format!("(base: \"sound.ron\", set: {{ {} }})", "\"seed\": 1, ".repeat(20_000));
    for (odd, reason) in [
        ("(base: \"odd.ron\", set: {})", "its own `base`"),
        ("(base: \"/dev/zero\", set: {})", "found a pipe or device"),
        ("(base: \"../../../../../../etc/passwd\", set: {})", "passwd"),
        ("(base: \"\", set: {})", "found a folder"),
        ("(base: 7, set: {})", "odd.ron:1"),
        ("(base: \"sound.ron\")", "set"),
        ("(base: \"sound.ron\", set: { \"\": 1 })", "odd.ron"),
        ("(base: \"sound.ron\", set: { \"....\": 1 })", "odd.ron"),
        ("(base: \"sound.ron\", set: { \"batch\": ) })", "odd.ron:1"),
        ("(base: \"sound.ron\", set: { \"batch\": 2, seed: 3 })", "odd.ron:1"),
        ("(base: \"sound.ron\", set: { \"batch\": 4000000000000000000 })", "batch: expected at most 65536"),
        ("(base: \"sound.ron\", set: { \"base\": \"x\" })", "base"),
        (&values, "`seed` is set twice"),
    ] {
        let path = hostile.write("odd.ron", odd);
        hostile.refuses(&["train", text(&path), "--out", "run"], reason);
    }
    hostile.check(13);
}

#[test]
fn no_override_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let recipe = emoji();
    let long = "a.".repeat(50_000) + "=1";
    let deep = format!("seed={}1{}", "(".repeat(50_000), ")".repeat(50_000));
    for (set, reason) in [
        ("", "path=value"),
        ("=", "emoji.ron"),
        ("name", "path=value"),
        ("name=", "emoji.ron:"),
        ("name=\"../../x\"", "name: expected letters"),
        ("name=\"a/b\"", "name: expected letters"),
        ("name=\"\"", "name: expected letters"),
        ("name=\"a\\u0000\"", "emoji.ron"),
        ("=1", "emoji.ron"),
        (".=1", "emoji"),
        ("a.b.c=1", "states no `a.b`"),
        ("batch=-1", "emoji.ron:"),
        ("batch=NaN", "emoji.ron:"),
        ("batch=16)", "emoji.ron:"),
        ("batch=16, batch: 17", "batch"),
        ("batch=//", "emoji.ron"),
        ("batch=/*", "emoji.ron"),
        ("objective=Add(", "emoji.ron"),
        ("objective.student_timesteps=Trailing(1000000000000)", "expected at most 1000"),
        ("objective.student_timesteps=Custom([999, 999])", "ascending"),
        (
            "objective.adversarial.heads=ProjectedHead(projection_width: 1000000000000)",
            "projection_width: expected 1 to 4096",
        ),
        ("objective.adversarial.heads=ProjectedHead(kernels: [1000000000001])", "kernels: expected 1 to 255"),
        ("objective.adversarial.features=MobileNetV2(blocks: [1000000000000])", "blocks"),
        ("objective.teacher.steps=1000000000000", "objective.teacher.steps: expected at most 1000"),
        ("objective.distillation.lambda=-inf", "objective.distillation.lambda"),
        ("evaluation.samples=1000000000000", "evaluation.samples: expected at most"),
        ("preview.steps=[1000000000000]", "preview.steps.0: expected at most 1000"),
        ("evaluation.rows.0.steps=1000000000000", "evaluation.rows.0.steps: expected at most 1000"),
        ("\u{1b}[31m=1", "emoji"),
        ("batch=\u{7f}", "emoji.ron:"),
        ("bätch=1", "emoji.ron:"),
        (&long, "states no"),
        (&deep, "emoji.ron:"),
    ] {
        hostile.refuses(&["train", &recipe, "--out", "run", "--set", set], reason);
    }
    hostile.check(30);
}
