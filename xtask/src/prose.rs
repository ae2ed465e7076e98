//! Doc comments are sentences: none begins with "Of ", and none has a single word.

/// The doc comments of a source that are no sentences, each with its 1-based line.
pub(crate) fn breaches(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |at: usize| at == 0 || doc(lines[at - 1]).is_none();
    let first = (0..lines.len()).filter(|&at| begins(at));
    first
        .filter_map(|at| Some((at, paragraph(&lines[at..])?)))
        .filter_map(|(at, words)| {
            let problem = match *words {
                ["Of", _, ..] => "begins with \"Of\"; say what it is",
                [word] if !word.starts_with(['`', '[', '#']) => "has one word; say what it is in a sentence",
                _ => return None,
            };
            Some(format!("{}: a doc comment {problem}", at + 1))
        })
        .collect()
}

/// What a line says in a doc comment.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
    // Four slashes are a plain comment.
    (!rest.starts_with('/')).then(|| rest.trim())
}

/// The words of the doc comment that `lines` begin with.
fn paragraph<'t>(lines: &[&'t str]) -> Option<Vec<&'t str>> {
    let words: Vec<&str> = lines.iter().map_while(|line| doc(line)).flat_map(str::split_whitespace).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doc_comment_that_is_no_sentence_is_found_with_its_line() {
        let bad = "//! A file.\n\n/// Of the student.\nx: f64,\n    /// Where.\n    path: PathBuf,\n";
        let found = breaches(bad);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("3: ") && found[0].contains("\"Of\""), "{}", found[0]);
        assert!(found[1].starts_with("5: ") && found[1].contains("one word"), "{}", found[1]);
    }

    #[test]
    fn sentences_over_several_lines_and_plain_comments_are_left_alone() {
        let good = "//! One thing\n//! more.\n/// The optimiser of the student, which\n/// moves.\n// Where.\n//// Why.\n/// `x_0`.\n";
        assert_eq!(breaches(good), Vec::<String>::new());
    }
}
