//! Living with `add`: terminals that know no escapes, closed ones, what files would write onto them, shells.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    binary::{binary, command},
    hostile::TINY,
    pictures::Runs,
};

/// A run of far too many steps; it is stopped by a signal.
fn endless(runs: &Runs) -> (String, String) {
    for i in 0..4 {
        runs.picture(&format!("pics/{i}.png"));
    }
    let run = "run: (steps: 1000000, checkpoint_every: 1000000)";
    let recipe = TINY.replace("DATA", "ImageFolder(path: \"pics\", size: 8)").replace("run: (steps: 1)", run);
    runs.write("recipe.ron", recipe);
    (runs.path("recipe.ron").display().to_string(), runs.path("run").display().to_string())
}

/// The run in `out`, stopped by `signal` as soon as it is under way; its exit code.
fn stopped(mut command: Command, out: &str, signal: &str) -> Option<i32> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let logged = Path::new(out).join("metrics.jsonl");
    while !fs::metadata(&logged).is_ok_and(|file| file.len() > 0) {
        assert!(began.elapsed() < Duration::from_mins(1), "the run does not begin");
        sleep(Duration::from_millis(20));
    }
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ignored = signal == "HUP" && command.get_program() == "nohup";
    if ignored {
        sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "nohup keeps it running");
        Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    }
    ended(child)
}

/// The exit code of a process that must end within a minute.
fn ended(mut child: Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if began.elapsed() > Duration::from_mins(1) {
            child.kill().unwrap();
            panic!("the run does not end");
        }
        sleep(Duration::from_millis(20));
    }
}

fn checkpoints(out: &str) -> usize {
    fs::read_dir(Path::new(out).join("checkpoints")).map_or(0, Iterator::count)
}

#[test]
fn a_closed_terminal_leaves_a_checkpoint() {
    let runs = Runs::new();
    let (recipe, out) = endless(&runs);
    // Tests that are run by nohup themselves pass on that hang-ups are ignored.
    let mut listening = Command::new("env");
    listening.arg("--default-signal=HUP").arg(binary()).args(["train", &recipe, "--out", &out]);
    assert_eq!(stopped(listening, &out, "HUP"), Some(129));
    assert_eq!(checkpoints(&out), 1);
    let again = command(&["train", &recipe, "--out", &out, "--resume", "latest", "--set", "run.steps=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!said.contains("no checkpoint"), "{said}");
}

#[test]
fn what_nohup_starts_outlives_its_terminal() {
    let runs = Runs::new();
    let (recipe, out) = endless(&runs);
    let mut nohup = Command::new("nohup");
    nohup.arg(binary()).args(["train", &recipe, "--out", &out]).current_dir(runs.path("."));
    assert_eq!(stopped(nohup, &out, "HUP"), Some(143));
    assert_eq!(checkpoints(&out), 1);
}

/// What `add` writes to standard error without NO_COLOR, to a pipe or, by way of `script`, to a terminal of this kind.
fn written(arguments: &str, terminal: Option<&str>) -> Vec<u8> {
    let line = format!("{} {arguments}", binary().display());
    let mut command = match terminal {
        None => Command::new("sh"),
        Some(_) => Command::new("script"),
    };
    match terminal {
        None => command.args(["-c", &line]),
        Some(term) => command.args(["-qec", &line, "/dev/null"]).env("TERM", term),
    };
    let output = command.env_remove("NO_COLOR").current_dir(crate::root()).output().unwrap();
    [output.stdout, output.stderr].concat()
}

#[test]
fn escapes_go_to_terminals_that_know_them_alone() {
    let warns = "sample configs/emoji.ron --prompt (a:2) --out /dev/null/x.png";
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.png").display().to_string();
    let note = format!("sample configs/emoji.ron --prompt \"(red:2)\" --overwrite --out {picture}");
    let escapes = |arguments: &str, terminal| written(arguments, terminal).contains(&0x1B);
    for arguments in
        [warns.replace("(a:2)", "a").as_str(), &note, "config check configs/emoji.ron --set batch=0"]
    {
        assert!(!escapes(arguments, None), "a pipe: {arguments}");
        assert!(!escapes(arguments, Some("dumb")), "a dumb terminal: {arguments}");
    }
    assert!(escapes(&note, Some("xterm-256color")), "a terminal shows colours");
}

#[test]
fn what_stands_in_files_moves_no_cursor() {
    let runs = Runs::new();
    let evil = "\u{1B}]0;owned\u{7}\u{1B}[2J\u{9B}31m\u{202E}\r";
    runs.picture("pics/a.png");
    // In captions, names, recipes, prompts and pictures' own text.
    fs::rename(runs.path("pics/a.png"), runs.path(&format!("pics/{evil}.bad.png"))).unwrap();
    runs.write("pics/b.png", b"no picture");
    runs.write("pics/b.txt", evil);
    let (_, said) = runs.train("ImageFolder(path: \"pics\", size: 8)", 3, &[]);
    check(&said);
    runs.write("bad.ron", format!("(name: \"{evil}\", {evil}: 3)"));
    let output = command(&["config", "check", runs.path("bad.ron").to_str().unwrap()]).output().unwrap();
    check(&String::from_utf8_lossy(&output.stderr));
    let list = format!("{{\"promt{evil}\": \"b\"}}\n");
    runs.write("list.jsonl", list);
    let sample = ["sample", "configs/emoji.ron", "--out", "never", "--prompts"];
    let list = runs.path("list.jsonl");
    let output = command(&[&sample[..], &[list.to_str().unwrap()]].concat()).output().unwrap();
    check(&String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(runs.path("run/log.txt")).unwrap_or_default();
    check(&log);
}

#[track_caller]
fn check(said: &str) {
    let raw: Vec<char> =
        said.chars().filter(|c| c.is_control() && *c != '\n' && *c != '\t' || *c == '\u{202E}').collect();
    assert!(raw.is_empty(), "{raw:?} in {said:?}");
}

#[test]
fn shells_and_manuals_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let help = command(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.strip_prefix("  ").and_then(|line| line.split(' ').next()))
        .filter(|name| !name.is_empty())
        .collect();
    assert!(commands.contains(&"sample") && commands.contains(&"man"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = command(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for name in
            commands.iter().chain(&["--save-latents", "save-latents"][usize::from(shell == "fish")..][..1])
        {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    let bash = folder.path().join("add.bash");
    fs::write(&bash, command(&["completions", "bash"]).output().unwrap().stdout).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&bash).status().unwrap().success(), "bash reads it");
    let pages = folder.path().join("man/man1");
    assert!(command(&["man", pages.to_str().unwrap()]).output().unwrap().status.success());
    for name in commands.iter().filter(|name| **name != "help") {
        let page =
            fs::read_to_string(pages.join(format!("add-{name}.1"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH") && page.contains(name), "{name}");
    }
    assert!(fs::read_to_string(pages.join("add.1")).unwrap().contains("add\\-sample"));
}
