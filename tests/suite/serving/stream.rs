//! `/api/stream`: pictures as they are made, and the newest request of a lane alone.

use serde_json::json;

use super::{Server, Socket, post};

#[test]
fn a_message_is_answered_with_a_header_and_the_picture_of_generate() {
    let server = Server::start();
    let mut socket = Socket::open(server.address);
    let wanted = json!({ "prompt": "red heart, noto emoji", "seed": 9, "steps": 2 });
    let mut message = wanted.clone();
    message["id"] = json!("a");
    message["previews"] = json!(true);
    socket.send(&message);
    let first = socket.header();
    assert_eq!((&first["id"], &first["step"], &first["of"]), (&json!("a"), &json!(1), &json!(2)));
    assert!(first["ms_compute"].is_null());
    let preview = socket.picture();
    let last = socket.header();
    assert_eq!((&last["seed"], &last["step"], &last["of"]), (&json!(9), &json!(2), &json!(2)));
    assert!(last["ms_compute"].as_f64().unwrap() > 0.0);
    let picture = socket.picture();
    assert_eq!(picture, post(server.address, "/api/generate", &wanted).body);
    assert_ne!(picture, preview);
}

#[test]
fn several_pictures_come_one_after_the_other() {
    let server = Server::start();
    let mut socket = Socket::open(server.address);
    socket.send(&json!({ "id": 1, "prompt": "a dog", "count": 3, "index": 4 }));
    for picture in 0..3 {
        let header = socket.header();
        assert_eq!(
            (&header["picture"], &header["pictures"], &header["index"]),
            (&json!(picture), &json!(3), &json!(4 + picture))
        );
        assert!(socket.picture().starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_newer_request_of_a_lane_takes_the_place_of_what_waits_on_it() {
    let server = Server::start();
    let mut socket = Socket::open(server.address);
    // Something long, on a lane of its own, so that all else has to wait.
    socket.send(&json!({ "id": "long", "lane": 1, "model": "emoji-teacher", "steps": 100, "prompt": "a", "count": 8 }));
    for id in 0..20 {
        socket.send(&json!({ "id": id, "prompt": format!("prompt {id}") }));
    }
    let (mut cancelled, mut made) = (Vec::new(), Vec::new());
    while made.len() < 8 + 1 {
        let header = socket.header();
        assert!(header["error"].is_null(), "{header}");
        if header["cancelled"] == json!(true) {
            cancelled.push(header["id"].clone());
        } else {
            socket.picture();
            made.push(header["id"].clone());
        }
    }
    assert_eq!(made.last(), Some(&json!(19)), "the newest is made");
    assert_eq!(cancelled.len(), 19, "{cancelled:?}");
}

#[test]
fn a_wrong_message_is_answered_and_the_stream_goes_on() {
    let server = Server::start();
    let mut socket = Socket::open(server.address);
    for (message, field) in [
        (json!({ "id": 1, "prompt": "a", "steps": 0 }), json!("steps")),
        (json!({ "id": 1, "prompt": "a", "lane": -1 }), json!("lane")),
        (json!({ "id": 1, "prompt": "a", "previews": 1 }), json!("previews")),
        (json!({ "id": 1, "prompt": "a", "stepz": 1 }), json!(null)),
    ] {
        socket.send(&message);
        let header = socket.header();
        assert_eq!((&header["id"], &header["field"]), (&json!(1), &field), "{header}");
        assert!(header["error"].is_string());
    }
    socket.send_frame(0x81, b"{");
    assert!(socket.header()["error"].is_string());
    socket.send(&json!({ "id": 2, "prompt": "a" }));
    assert_eq!(socket.header()["id"], json!(2));
    socket.picture();
}
