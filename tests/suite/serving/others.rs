//! The interfaces of A1111's web UI and of OpenAI, with what their official clients send.

use add_data::{decode_rgb, encode_png};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Server, get, post};

/// What `webuiapi` 0.9.17 sends for `txt2img(prompt=…, seed=…)`.
fn sent_by_webuiapi() -> Value {
    // As text: the macro takes fewer fields.
    let sent = r#"{
        "enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0,
        "hr_resize_y": 0, "hr_checkpoint_name": null, "hr_sampler_name": null, "hr_scheduler": null, "hr_prompt": "",
        "hr_negative_prompt": "", "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0,
        "prompt": "red heart, noto emoji", "styles": [], "seed": 3, "subseed": -1, "subseed_strength": 0.0,
        "seed_resize_from_h": 0, "seed_resize_from_w": 0, "batch_size": 1, "n_iter": 1, "steps": 20, "cfg_scale": 7.0,
        "width": 512, "height": 512, "restore_faces": false, "tiling": false, "do_not_save_samples": false,
        "do_not_save_grid": false, "negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1,
        "override_settings": {}, "override_settings_restore_afterwards": true, "sampler_name": "Euler a",
        "scheduler": "automatic", "sampler_index": "Euler a", "script_name": null, "script_args": [],
        "send_images": true, "save_images": false, "alwayson_scripts": {}
    }"#;
    serde_json::from_str(sent).unwrap()
}

fn with(mut request: Value, changes: Value) -> Value {
    request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    request
}

fn picture(base64: &Value) -> image::RgbImage {
    decode_rgb(&STANDARD.decode(base64.as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn the_web_uis_defaults_make_a_picture_and_what_was_changed_is_named() {
    let server = Server::start();
    let answer = post(server.address, "/sdapi/v1/txt2img", &sent_by_webuiapi());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let warnings: Vec<&str> =
        answer["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    // It makes 32 pixels and has no guidance; all else was done or asked for nothing.
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("512 x 512") && warnings[1].contains("cfg_scale"), "{warnings:?}");
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&info["seed"], &info["width"], &info["sampler_name"]),
        (&json!(3), &json!(32), &json!("EulerAncestral"))
    );
    assert_eq!(info["warnings"], answer["warnings"]);
    let own =
        json!({ "prompt": "red heart, noto emoji", "seed": 3, "steps": 20, "sampler": "EulerAncestral" });
    let own = decode_rgb(&post(server.address, "/api/generate", &own).body).unwrap();
    assert_eq!(picture(&answer["images"][0]), own);
}

#[test]
fn seeds_count_up_and_a_style_ends_the_prompt() {
    let server = Server::start();
    let few = json!({ "prompt": "pizza", "styles": ["noto emoji"], "batch_size": 2, "n_iter": 2, "seed": 10, "steps": 1 });
    let answer = post(server.address, "/sdapi/v1/txt2img", &few).json();
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&info["all_seeds"], &info["prompt"]),
        (&json!([10, 11, 12, 13]), &json!("pizza, noto emoji"))
    );
    let one = json!({ "prompt": "pizza, noto emoji", "seed": 12, "steps": 1 });
    let one = post(server.address, "/sdapi/v1/txt2img", &one).json();
    assert_eq!(picture(&answer["images"][2]), picture(&one["images"][0]));
}

#[test]
fn what_the_web_ui_would_do_and_this_server_does_not_is_named() {
    let server = Server::start();
    let asks = json!({ "enable_hr": true, "restore_faces": true, "stepz": 3, "width": 32, "height": 32, "cfg_scale": 1,
        "override_settings": { "CLIP_stop_at_last_layers": 2 } });
    let answer = post(server.address, "/sdapi/v1/txt2img", &with(sent_by_webuiapi(), asks));
    let warnings = answer.json()["warnings"].to_string();
    for name in ["enable_hr", "restore_faces", "stepz", "CLIP_stop_at_last_layers"] {
        assert!(warnings.contains(name), "{name}: {warnings}");
    }
    for (changes, field) in [
        (json!({ "width": 640, "height": 32 }), "width"),
        (json!({ "cfg_scale": 5 }), "cfg_scale"),
        (json!({ "sampler_name": "Magic" }), "sampler_name"),
        (json!({ "steps": "many" }), "steps"),
        (json!({ "batch_size": 1_000_000, "n_iter": 1_000_000 }), "batch_size"),
        (json!({ "override_settings": { "sd_model_checkpoint": "nobody" } }), "sd_model_checkpoint"),
    ] {
        let answer = post(server.address, "/sdapi/v1/txt2img", &with(sent_by_webuiapi(), changes));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(field));
    }
}

#[test]
fn a_picture_and_a_model_are_chosen_as_in_the_web_ui() {
    let server = Server::start();
    let address = server.address;
    let models = get(address, "/sdapi/v1/sd-models").json();
    assert_eq!(models[1]["title"], json!("emoji-teacher"));
    let set = post(
        address,
        "/sdapi/v1/options",
        &json!({ "sd_model_checkpoint": "emoji-teacher", "live_previews": 1 }),
    );
    assert!(set.text().contains("live_previews"), "{}", set.text());
    assert_eq!(get(address, "/sdapi/v1/options").json()["sd_model_checkpoint"], json!("emoji-teacher"));
    let init =
        STANDARD.encode(encode_png(&image::RgbImage::from_pixel(32, 32, [0, 90, 200].into()), &[]).unwrap());
    let asked = json!({ "init_images": [init], "prompt": "a", "denoising_strength": 0.5, "steps": 4, "cfg_scale": 2 });
    let answer = post(address, "/sdapi/v1/img2img", &asked);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["parameters"]["init_images"], json!(null), "a picture is not sent back");
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!((&info["sd_model_name"], &info["denoising_strength"]), (&json!("emoji-teacher"), &json!(0.5)));
    let png = post(address, "/sdapi/v1/png-info", &json!({ "image": answer["images"][0] })).json();
    let line = png["items"]["parameters"].as_str().unwrap();
    assert!(line.contains("Model: emoji-teacher") && line.contains("Denoising strength: 0.5"), "{line}");
    let without = post(address, "/sdapi/v1/img2img", &json!({ "prompt": "a" }));
    assert_eq!((without.status, without.json()["field"].as_str()), (422, Some("init_images")));
    for path in ["samplers", "schedulers", "upscalers", "prompt-styles", "loras", "sd-vae"] {
        assert!(get(address, &format!("/sdapi/v1/{path}")).json().is_array(), "{path}");
    }
    assert_eq!(get(address, "/sdapi/v1/progress").json()["state"]["job_count"], json!(0));
}

#[test]
fn openai_is_answered_in_its_own_form() {
    let server = Server::start();
    let address = server.address;
    assert_eq!(get(address, "/v1/models").json()["data"][0]["id"], json!("emoji"));
    let asked = json!({ "model": "emoji", "prompt": "a dog", "n": 2, "size": "32x32", "seed": 4, "user": "somebody" });
    let answer = post(address, "/v1/images/generations", &asked).json();
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    let own = json!({ "prompt": "a dog", "seed": 4, "index": 1 });
    let own = decode_rgb(&post(address, "/api/generate", &own).body).unwrap();
    assert_eq!(picture(&answer["data"][1]["b64_json"]), own);
    let address_of = json!({ "prompt": "a dog", "response_format": "url" });
    let url = post(address, "/v1/images/generations", &address_of).json()["data"][0]["url"].to_string();
    assert!(url.starts_with("\"data:image/png;base64,"), "{url:.60}");
    for (changes, param) in [
        (json!({ "size": "1024x1024" }), json!("height")),
        (json!({ "size": "huge" }), json!("size")),
        (json!({ "quality": "hd" }), json!("quality")),
        (json!({ "model": "dall-e-3" }), json!("model")),
        (json!({ "stepz": 1 }), json!(null)),
    ] {
        let answer = post(address, "/v1/images/generations", &with(json!({ "prompt": "a" }), changes));
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["type"], &error["param"]),
            (422, &json!("invalid_request_error"), &param)
        );
    }
}
