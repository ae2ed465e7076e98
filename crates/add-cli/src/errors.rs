//! The library's errors in the words of the command line.

use std::error::Error;

use add_core::error::CoreError;
use add_train::TrainError;
use miette::{Diagnostic, MietteDiagnostic, Report};

/// What is told of a failure: the library names arguments, the command line has options for them.
pub(crate) fn report(error: CoreError) -> Report {
    let help = match &error {
        CoreError::Argument { .. } => return Report::msg(format!("--{error}")),
        CoreError::Override(_) => return Report::msg(format!("--set {error}")),
        CoreError::Train(TrainError::Begun { .. }) => {
            "`--resume auto` continues it, `--out FOLDER` begins another"
        }
        CoreError::Train(TrainError::NotBegun { .. }) => "`--resume auto` begins where there is none",
        CoreError::Train(TrainError::Locked { .. }) => "`--out FOLDER` chooses another folder",
        _ => return without_echo(error),
    };
    Report::new(MietteDiagnostic::new(error.to_string()).with_help(help))
}

/// A failure whose cause is not told again where its own words end with it.
fn without_echo(error: CoreError) -> Report {
    let said = error.to_string();
    if !error.source().is_some_and(|cause| said.ends_with(&cause.to_string())) {
        return Report::new(error);
    }
    let help = error.help().map(|help| help.to_string());
    let told = MietteDiagnostic::new(said);
    Report::new(match help {
        Some(help) => told.with_help(help),
        None => told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_named_as_options() {
        let error = CoreError::Argument { name: "steps", problem: "expected 1 to 1000, got 0".to_owned() };
        assert_eq!(error.to_string(), "steps: expected 1 to 1000, got 0");
        assert_eq!(report(error).to_string(), "--steps: expected 1 to 1000, got 0");
        let missing = std::io::Error::other("no such thing");
        let missing = report(CoreError::Unreadable { path: "a.ron".into(), source: missing });
        assert_eq!((missing.to_string().as_str(), missing.chain().count()), ("a.ron: no such thing", 1));
        assert!(missing.help().is_some());
        let begun = report(CoreError::Train(TrainError::Begun { path: "run".into() }));
        assert!(!begun.to_string().contains("--"), "{begun}");
        assert!(begun.help().is_some_and(|help| help.to_string().contains("--resume auto")));
    }
}
