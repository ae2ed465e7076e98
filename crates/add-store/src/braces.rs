//! Many names in one: `{00000..00012}` and `{a,b}`, as a shell has them.

/// Most names that one text may stand for.
const MOST: usize = 1_000_000;

/// The names that `text` stands for, in order. Numbers keep the width of their first end.
///
/// # Errors
/// When a brace is not closed, a range is none, or there are more than a million names.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = text.split_once('{') else { return Ok(vec![text.to_owned()]) };
    let (inside, after) = rest
        .split_once('}')
        .ok_or_else(|| format!("expected a closing `}}` after `{before}{{`, found none"))?;
    let choices = choices(inside)?;
    let after = expand(after)?;
    if choices.len().saturating_mul(after.len()) > MOST {
        return Err(format!("expected at most {MOST} names, `{{{inside}}}` makes more"));
    }
    Ok(choices
        .iter()
        .flat_map(|choice| after.iter().map(move |after| format!("{before}{choice}{after}")))
        .collect())
}

fn choices(inside: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = inside.split_once("..") else {
        return Ok(inside.split(',').map(str::to_owned).collect());
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    match (number(first), number(last)) {
        (Some(a), Some(b)) if a <= b && b - a < MOST as u64 => {
            Ok((a..=b).map(|i| format!("{i:0width$}", width = first.len())).collect())
        }
        _ => Err(format!("expected ascending numbers such as {{00000..00012}}, found {{{inside}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_their_width_and_braces_multiply() {
        assert_eq!(expand("a.tar"), Ok(vec!["a.tar".to_owned()]));
        assert_eq!(expand("{008..010}.tar").expect("a range"), ["008.tar", "009.tar", "010.tar"]);
        assert_eq!(expand("{a,b}/{1..2}").expect("two"), ["a/1", "a/2", "b/1", "b/2"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["{1..", "{a..b}", "{2..1}", "{..}", "{0..99999999999}", "{0..9999}{0..9999}", "{-1..2}"]
        {
            assert!(expand(text).is_err(), "{text}");
        }
    }
}
