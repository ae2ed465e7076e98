//! `/api/generate`: the pictures of `add sample`, to the byte, alone and among others; and what is refused.

use add_data::{decode_rgb, encode_png, png_text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, Server, get, post};
use crate::{binary::add, root};

#[test]
fn a_picture_is_that_of_sample_and_says_how_it_was_made() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let recipe = root().join("configs/emoji.ron");
    let prompt = "red heart, noto emoji";
    let arguments = ["sample", recipe.to_str().unwrap(), "--prompt", prompt, "--seed", "5", "--steps", "2"];
    let out = folder.path().to_str().unwrap();
    let output = add(&[&arguments[..], &["--count", "3", "--out", out]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wanted = json!({ "prompt": prompt, "seed": 5, "steps": 2, "index": 2 });
    let answer = post(server.address, "/api/generate", &wanted);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/png")), "{}", answer.text());
    let sampled = std::fs::read(folder.path().join("0002.png")).unwrap();
    assert_eq!(decode_rgb(&answer.body).unwrap(), decode_rgb(&sampled).unwrap());
    let text = png_text(&answer.body).unwrap();
    let keys: Vec<&str> = text.iter().map(|(key, _)| key.as_str()).collect();
    // `prompt` and `workflow` are ComfyUI's.
    assert_eq!(keys, ["parameters"]);
    let line = format!(
        "{prompt}\nSteps: 2, Sampler: AddRefine, CFG scale: 1, Seed: 5, Size: 32x32, Model: emoji, Index: 2"
    );
    assert!(text[0].1.starts_with(&line), "{}", text[0].1);
}

#[test]
fn a_picture_is_the_same_to_the_byte_whatever_it_is_computed_with() {
    let server = Server::start();
    let address = server.address;
    let wanted = |i: u64| {
        let extra = match i % 3 {
            0 => json!({ "prompt_b": "pizza, blob emoji", "mix": 0.4 }),
            1 => json!({ "count": 2 }),
            _ => json!({}),
        };
        let mut wanted = json!({ "prompt": format!("dog face, {i}"), "seed": i, "index": 3 * i });
        wanted.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        wanted
    };
    let alone: Vec<Answer> = (0..24).map(|i| post(address, "/api/generate", &wanted(i))).collect();
    let threads: Vec<_> =
        (0..24).map(|i| std::thread::spawn(move || post(address, "/api/generate", &wanted(i)))).collect();
    let pictures = |answer: &Answer| {
        if answer.header("content-type") == Some("image/png") {
            return vec![answer.body.clone()];
        }
        let answer = answer.json();
        let all = answer["pictures"].as_array().unwrap();
        all.iter().map(|picture| STANDARD.decode(picture["png"].as_str().unwrap()).unwrap()).collect()
    };
    for (alone, together) in alone.iter().zip(threads) {
        assert_eq!(alone.status, 200, "{}", alone.text());
        assert_eq!(pictures(alone), pictures(&together.join().unwrap()));
    }
    let metrics = get(address, "/metrics").text();
    let count = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(
        count("add_batch_size_bucket{le=\"2\"}") < count("add_batch_size_count"),
        "some were together: {metrics}"
    );
    assert_eq!(count("add_errors_total"), 0);
}

#[test]
fn the_teacher_is_guided_and_the_student_is_not() {
    let server = Server::start();
    let models = get(server.address, "/api/models").json();
    let names: Vec<&str> =
        models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["emoji", "emoji-teacher"]);
    assert_eq!((&models[0]["kind"], &models[1]["kind"]), (&json!("student"), &json!("teacher")));
    assert_eq!(models[0]["steps"], json!([1, 2, 4]));
    assert_eq!(models[0]["styles"].as_array().unwrap().len(), 6);
    let made = |wanted: Value| post(server.address, "/api/generate", &wanted);
    let teacher = |guidance: f64, negative: &str| {
        let answer = made(
            json!({ "prompt": "red apple, noto emoji", "model": "emoji-teacher", "steps": 4, "guidance": guidance, "negative": negative }),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        decode_rgb(&answer.body).unwrap()
    };
    assert_ne!(teacher(3.0, ""), teacher(1.0, ""));
    assert_ne!(teacher(3.0, ""), teacher(3.0, "a dog"));
    for (field, value) in [("guidance", json!(3.0)), ("negative", json!("a dog"))] {
        let answer = made(json!({ "prompt": "a", field: value }));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)));
    }
}

#[test]
fn a_picture_to_begin_with_shows_in_what_is_made() {
    let server = Server::start();
    let red = image::RgbImage::from_pixel(40, 64, [230, 20, 20].into());
    let init = format!("data:image/png;base64,{}", STANDARD.encode(encode_png(&red, &[]).unwrap()));
    let mean = |strength: f64| {
        let wanted = json!({ "prompt": "", "init": init, "strength": strength, "steps": 4 });
        let answer = post(server.address, "/api/generate", &wanted);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let picture = decode_rgb(&answer.body).unwrap();
        assert_eq!(picture.dimensions(), (32, 32));
        let sum = picture
            .pixels()
            .fold([0.0; 3], |sum: [f64; 3], pixel| std::array::from_fn(|c| sum[c] + f64::from(pixel.0[c])));
        (sum[0] - sum[1]) / 1024.0
    };
    assert!(mean(0.3) > mean(1.0), "the less is changed, the redder it stays");
}

#[test]
fn a_mix_of_prompts_ends_in_both() {
    let server = Server::start();
    let made = |wanted: Value| decode_rgb(&post(server.address, "/api/generate", &wanted).body).unwrap();
    let (a, b) = ("red heart, noto emoji", "pizza, noto emoji");
    let between = |mix: f64| made(json!({ "prompt": a, "prompt_b": b, "mix": mix }));
    assert_eq!(between(0.0), made(json!({ "prompt": a })));
    assert_eq!(between(1.0), made(json!({ "prompt": b })));
    assert!(between(0.5) != between(0.0) && between(0.5) != between(1.0));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_field() {
    let server = Server::start();
    let bomb = {
        // A picture of one colour, which is small as a file.
        let wide = image::RgbImage::new(3000, 8);
        STANDARD.encode(encode_png(&wide, &[]).unwrap())
    };
    for (wanted, field) in [
        (json!({ "prompt": "a", "steps": 0 }), "steps"),
        (json!({ "prompt": "a", "steps": 100_000 }), "steps"),
        (json!({ "prompt": "a", "count": 65 }), "count"),
        (json!({ "prompt": "a", "seed": 1_u64 << 60 }), "seed"),
        (json!({ "prompt": "a", "size": 100_000 }), "size"),
        (json!({ "prompt": "a", "width": 33 }), "width"),
        (json!({ "prompt": "a", "size": 32, "width": 32 }), "size"),
        (json!({ "prompt": "a", "sampler": "Magic" }), "sampler"),
        (json!({ "prompt": "a", "model": "nobody" }), "model"),
        (json!({ "prompt": "a", "mix": 0.5 }), "mix"),
        (json!({ "prompt": "a", "prompt_b": "b", "mix": 1.5 }), "mix"),
        (json!({ "prompt": "a", "strength": 0.5 }), "strength"),
        (json!({ "prompt": "a", "init": "no base64!" }), "init"),
        (json!({ "prompt": "a", "init": "aGVsbG8=" }), "init"),
        (json!({ "prompt": "a", "init": bomb }), "init"),
        (json!({ "prompt": "a".repeat(5000) }), "prompt"),
    ] {
        let answer = post(server.address, "/api/generate", &wanted);
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{}", answer.text());
        assert!(
            answer.json()["error"].as_str().unwrap().contains("expected") || field == "init",
            "{}",
            answer.text()
        );
    }
    for (wanted, word) in [(json!({ "prompt": "a", "stepz": 1 }), "stepz"), (json!({ "steps": 1 }), "prompt")]
    {
        let answer = post(server.address, "/api/generate", &wanted);
        assert!(answer.status == 422 && answer.text().contains(word), "{}", answer.text());
    }
}
