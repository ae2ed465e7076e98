//! Where a field stands in a recipe's text.
//!
//! `ron` reports the place of a syntax or type error itself. Checks that come later (a value out of range, two parts
//! that do not fit) know a field's path, and `--set a.b=v` edits one; both need the field's place. This is a reader of
//! RON's brackets, strings and comments, no more: it finds `field: value` pairs and never judges values.

use std::ops::Range;

/// The place of the value at a dotted `path`, such as `objective.teacher.guidance`.
///
/// Parentheses of plugins and enum variants count as structs: in `weighting: Sds(w: One)` the path of `One` is
/// `weighting.w`. List entries are numbered: `prompts.0`.
pub(crate) fn find(text: &str, path: &str) -> Option<Range<usize>> {
    let mut here = whole(text)?;
    for name in path.split('.') {
        here = child(text, &here, name)?;
    }
    Some(here)
}

/// The place of the whole recipe, without what stands before it.
pub(crate) fn whole(text: &str) -> Option<Range<usize>> {
    let mut scanner = Scanner { text, position: 0 };
    scanner.skip_attributes();
    scanner.value()
}

/// Just behind the opening bracket of the value at `range`, when it has one.
pub(crate) fn inside(text: &str, range: &Range<usize>) -> Option<usize> {
    let mut scanner = Scanner { text, position: range.start };
    scanner.identifier();
    scanner.skip_space();
    matches!(scanner.peek(), Some('(' | '[')).then(|| scanner.position + 1)
}

/// The value of the field or list entry `name` inside the value at `range`.
fn child(text: &str, range: &Range<usize>, name: &str) -> Option<Range<usize>> {
    let mut scanner = Scanner { text, position: inside(text, range)? };
    for index in 0_usize.. {
        scanner.skip_space();
        if matches!(scanner.peek(), None | Some(')' | ']' | '}')) {
            return None;
        }
        let start = scanner.position;
        let key = scanner.identifier();
        scanner.skip_space();
        let named = scanner.peek() == Some(':');
        if named {
            scanner.position += 1;
            scanner.skip_space();
        } else {
            scanner.position = start;
        }
        let value = scanner.value()?;
        if (named && key == name) || (!named && name.parse() == Ok(index)) {
            return Some(value);
        }
        scanner.skip_space();
        if scanner.peek() == Some(',') {
            scanner.position += 1;
        }
    }
    None
}

struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// White space and comments.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.position += rest.len() - trimmed.len();
            let skipped = if trimmed.starts_with("//") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                return;
            };
            self.position += skipped;
        }
    }

    /// `#![enable(…)]` lines before the recipe.
    fn skip_attributes(&mut self) {
        self.skip_space();
        while self.rest().starts_with("#!") {
            self.position += self.rest().find(']').map_or(self.rest().len(), |end| end + 1);
            self.skip_space();
        }
    }

    fn identifier(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    /// One value: up to the comma or closing bracket that ends it.
    fn value(&mut self) -> Option<Range<usize>> {
        self.skip_space();
        let start = self.position;
        let mut depth = 0_usize;
        let mut end = start;
        while let Some(c) = self.peek() {
            match c {
                ',' | ')' | ']' | '}' if depth == 0 => break,
                '(' | '[' | '{' => {
                    depth += 1;
                    self.position += 1;
                }
                ')' | ']' | '}' => {
                    depth -= 1;
                    self.position += 1;
                }
                '"' => self.string(),
                'r' if self.rest().starts_with("r\"") || self.rest().starts_with("r#") => self.raw_string(),
                '/' if self.rest().starts_with("//") || self.rest().starts_with("/*") => {
                    self.skip_space();
                    continue;
                }
                c => {
                    self.position += c.len_utf8();
                    if c.is_whitespace() {
                        continue;
                    }
                }
            }
            end = self.position;
        }
        (end > start).then_some(start..end)
    }

    fn string(&mut self) {
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.position += offset + 1;
                    return;
                }
                _ => {}
            }
        }
        self.position = self.text.len();
    }

    fn raw_string(&mut self) {
        let hashes = self.rest()[1..].chars().take_while(|&c| c == '#').count();
        let close = format!("\"{}", "#".repeat(hashes));
        let body = self.position + 2 + hashes;
        let rest = self.text.get(body..).unwrap_or_default();
        self.position = rest.find(&close).map_or(self.text.len(), |end| body + end + close.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"(
    // name: "wrong"
    name: "a, (b)", /* steps: 1 */
    steps: 40,
    data: Emoji(size: 32, styles: ["noto", "3d"]),
    objective: Add(teacher: (guidance: Fixed(7.5))),
)"#;

    fn text_at(path: &str) -> Option<&'static str> {
        find(TEXT, path).map(|range| &TEXT[range])
    }

    #[test]
    fn fields_are_found_by_path() {
        assert_eq!(text_at("name"), Some("\"a, (b)\""));
        assert_eq!(text_at("steps"), Some("40"));
        assert_eq!(text_at("data.size"), Some("32"));
        assert_eq!(text_at("data.styles.1"), Some("\"3d\""));
        assert_eq!(text_at("objective.teacher.guidance"), Some("Fixed(7.5)"));
        assert_eq!(text_at("objective.teacher.guidance.0"), Some("7.5"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(text_at("wrong"), None);
        assert_eq!(text_at("steps.inner"), None);
        assert_eq!(text_at("objective.student"), None);
    }
}
