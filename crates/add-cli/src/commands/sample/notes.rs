//! What is said of options and prompts that do less than one might expect.

use add_core::{
    made_with::MadeWith,
    recipe::{LongPrompt, Recipe, SampledModel},
};
use tracing::warn;

use super::Sample;

/// Longest text that a note quotes, in characters.
const TOLD: usize = 300;

/// Everything that is to be said of a request.
pub(super) fn say_all(said: &Sample, made: &MadeWith, recipe: &Recipe, model: &SampledModel) {
    say_of_guidance(said, made, recipe, model);
    for (argument, prompt) in named(made) {
        if let Some(syntax) = syntax(prompt) {
            warn!("{argument}: {syntax}");
        }
    }
    if recipe.sampling.long_prompt != LongPrompt::Cut {
        return;
    }
    for (argument, prompt) in named(made) {
        if let Some(words) = model.text.left_out(prompt) {
            let count = words.split_whitespace().count();
            let shown: String = words.chars().take(TOLD).collect();
            let more = if shown.len() < words.len() { "…" } else { "" };
            let tokens = recipe.text.info().tokens;
            warn!(
                "{argument}: the text encoder takes {tokens} tokens with start and end: its last {count} words are left \
                 out, from \"{shown}{more}\" on; --long-prompt Chunks takes them too"
            );
        }
    }
}

/// The same of a list, in numbers.
pub(super) fn say_of_list(said: &Sample, made: &MadeWith, recipe: &Recipe, model: &SampledModel) {
    say_of_guidance(said, made, recipe, model);
    let of = made.prompts.len();
    let weighted = made.prompts.iter().filter_map(|prompt| syntax(prompt));
    let mut weighted = weighted.peekable();
    if let Some(first) = weighted.peek().cloned() {
        warn!("--prompts: {} of {of} prompts: {first}", weighted.count());
    }
    if recipe.sampling.long_prompt != LongPrompt::Cut {
        return;
    }
    let cut = made.prompts.iter().filter(|prompt| model.text.left_out(prompt).is_some()).count();
    if cut > 0 {
        warn!(
            "--prompts: {cut} of {of} prompts have more than the text encoder's {} tokens, and their last words are left \
             out; --long-prompt Chunks takes them too",
            recipe.text.info().tokens
        );
    }
}

fn say_of_guidance(said: &Sample, made: &MadeWith, recipe: &Recipe, model: &SampledModel) {
    let (place, scale) = match said.guidance {
        Some(scale) => ("--guidance", scale),
        None => ("sampling.guidance", recipe.sampling.guidance),
    };
    if scale == 0.0 {
        warn!(
            "{place} 0: taken as 1, no guidance, as the pages of turbo models mean it; the scale 0 itself would leave \
             the prompt out"
        );
    }
    if made.negative.is_empty() {
        return;
    }
    if model.denoiser.takes_guidance() {
        warn!(
            "--negative: has no effect: this model is told its guidance scale and never asked without the prompt"
        );
    } else if (made.guidance - 1.0).abs() < f64::EPSILON {
        warn!("--negative: has no effect without guidance; give --guidance above 1");
    }
}

/// The texts of a request with their options.
fn named(made: &MadeWith) -> impl Iterator<Item = (&'static str, &str)> {
    let prompts = made.prompts.iter().map(|prompt| ("--prompt", prompt.as_str()));
    prompts.chain([("--negative", made.negative.as_str())])
}

/// What is said of a prompt in the syntax of other programs.
fn syntax(prompt: &str) -> Option<String> {
    if let Some(tag) = angle_tag(prompt) {
        return Some(format!("{tag} is read as words: this syntax of other programs is not supported"));
    }
    let weight = weight(prompt)?;
    Some(format!(
        "{weight} is read as words: weights of words are not supported, and brackets, colon and number are tokens as any"
    ))
}

/// A weight such as `(red:1.3)`.
fn weight(prompt: &str) -> Option<&str> {
    prompt.match_indices(')').find_map(|(close, _)| {
        let open = prompt[..close].rfind('(')?;
        let (_, number) = prompt[open + 1..close].rsplit_once(':')?;
        let number = number.trim();
        let is_number = number.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        (is_number && number.parse::<f64>().is_ok()).then(|| &prompt[open..=close])
    })
}

/// A network such as `<lora:name:0.8>`.
fn angle_tag(prompt: &str) -> Option<&str> {
    ["<lora:", "<lyco:", "<hypernet:"].iter().find_map(|tag| {
        let start = prompt.find(tag)?;
        let end = prompt[start..].find('>')?;
        Some(&prompt[start..=start + end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_told_from_brackets_and_times() {
        for (prompt, found) in [
            ("a (red:1.3) apple", Some("(red:1.3)")),
            ("a ((very red:0.5)) apple", Some("(very red:0.5)")),
            ("(a:b) (c: 2 )", Some("(c: 2 )")),
            ("a (red) apple", None),
            ("at 10:30 (noon)", None),
            ("(ratio 3:2 is fine) :)", None),
            (":) (", None),
            ("größe (ü:1)", Some("(ü:1)")),
        ] {
            assert_eq!(weight(prompt), found, "{prompt}");
        }
        assert_eq!(angle_tag("cat <lora:x:1> dog"), Some("<lora:x:1>"));
        assert_eq!(angle_tag("a <b> <lora:"), None);
    }
}
