//! What a report is made from: a finished run's report must be written, whatever became of the other files.

use std::{fs, path::Path};

use super::{Hostile, text};
use crate::golden;

#[test]
fn no_file_of_a_run_keeps_its_report_from_being_written() {
    let mut hostile = Hostile::new();
    let run = hostile.run_folder();
    let deep = "[".repeat(1_000_000);
    let keys: Vec<String> = (0..50_000).map(|i| format!("\"k{i}\":{i}")).collect();
    let wide = format!("{{\"step\":1,{}}}", keys.join(","));
    let list = format!("{{\"step\":1,\"v\":[{}]}}", vec!["1"; 100_000].join(","));
    let rows = format!("[{}]", vec![r#"{"model":"<script>","steps":1}"#; 100_000].join(","));
    let script = r#"[{"model":"<script>","steps":1,"sampler":"</table>","guidance":1e308,"split":"","metric":"\u0000",
        "value":-1e308,"n":18446744073709551615}]"#;
    for (file, bytes) in [
        ("metrics.jsonl", vec![0xFF; 1000]),
        ("metrics.jsonl", deep.clone().into_bytes()),
        ("metrics.jsonl", wide.into_bytes()),
        ("metrics.jsonl", list.into_bytes()),
        ("metrics.jsonl", b"{\"step\":18446744073709551615,\"loss\":1}\n{\"step\":0,\"loss\":1e308}\n{\"step\":1,\"loss\":-1e308}".to_vec()),
        ("metrics.jsonl", b"{\"step\":-1}\n{\"step\":1e400}\n{\"step\":1,\"step\":2}\n[]\nnull\n".to_vec()),
        ("evaluation.json", b"{".to_vec()),
        ("evaluation.json", deep.into_bytes()),
        ("evaluation.json", rows.into_bytes()),
        ("evaluation.json", script.into()),
        ("samples/step-1.png", Vec::new()),
        ("samples/step-18446744073709551615.png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF".to_vec()),
    ] {
        prepare(&run);
        fs::write(run.join(file), bytes).unwrap();
        reported(&mut hostile, file);
    }
    for (file, byte) in [
        ("metrics.jsonl", b'x'),
        ("metrics.jsonl", b'\n'),
        ("evaluation.json", b' '),
        ("samples/step-1.png", b'x'),
    ] {
        prepare(&run);
        let long = hostile.write_long("long", "", byte, if byte == b'\n' { 10 } else { 40 });
        fs::copy(long, run.join(file)).unwrap();
        reported(&mut hostile, file);
    }
    hostile.check(16);
}

/// A finished run with a checkpoint and nothing else.
fn prepare(run: &Path) {
    let _ = fs::remove_dir_all(run);
    golden::copy(&golden::checkpoint(), &run.join("checkpoints").join(golden::STEP));
    fs::create_dir_all(run.join("samples")).unwrap();
}

/// The run is taken up without a step to do, and writes its page.
fn reported(hostile: &mut Hostile, file: &str) {
    let run = hostile.run_folder();
    hostile.bears(&["train", &golden::recipe(), "--out", text(&run), "--resume", "latest"]);
    let page = fs::read_to_string(run.join("report.html")).unwrap_or_default();
    assert!(page.trim_end().ends_with("</html>"), "{file}: no page");
    assert!(!page.contains("<script>"), "{file}");
}
