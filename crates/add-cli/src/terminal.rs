//! The terminal, if one is there: whether it knows colours, and lines for the person at it.
//!
//! Names, captions and notes come from files of unknown origin. What is in them must not move a cursor or rename a window,
//! so every line passes [`clean`].

use std::{
    borrow::Cow,
    env,
    io::{self, IsTerminal, Write},
};

use tracing_subscriber::fmt::MakeWriter;

/// Whether standard error is a terminal that knows escapes, so that a bar can be drawn on it.
pub(crate) fn is_capable() -> bool {
    io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether lines may be coloured. (See no-color.org.)
pub(crate) fn has_colours() -> bool {
    is_capable() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line for the person at the terminal, if one is there.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", clean(line, false));
}

/// A text in which control characters, and those that turn the direction of writing, are shown as escapes: all but tabs and
/// the ends of lines and, with `colours`, the sequences of colours.
pub(crate) fn clean(text: &str, colours: bool) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = if colours { colour(rest) } else { 0 };
        let length = colour.max(c.len_utf8());
        if colour > 0 || !is_control(c) {
            out += &rest[..length];
        } else {
            out.extend(c.escape_unicode());
        }
        rest = &rest[length..];
    }
    Cow::Owned(out)
}

fn is_control(c: char) -> bool {
    let turns = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && c != '\n' && c != '\t'
}

/// The length of the colour sequence with which a text begins; 0 where it begins with none.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\x1B[") else { return 0 };
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';')).unwrap_or(rest.len());
    if rest[end..].starts_with('m') { "\x1B[".len() + end + 1 } else { 0 }
}

/// Makes writers to standard error for `tracing`, which hands over whole events.
pub(crate) struct Lines {
    /// Whether colours are left as they are.
    pub(crate) colours: bool,
}

/// One of them.
pub(crate) struct Line {
    colours: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { colours: self.colours }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        // Nobody can be told that standard error is gone.
        let _ = io::stderr().write_all(clean(&text, self.colours).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_a_cursor_is_shown() {
        for (text, shown) in [
            ("größe 🍎\tx\n", "größe 🍎\tx\n"),
            ("a\x1B[2Jb", "a\\u{1b}[2Jb"),
            ("a\x1B]0;title\x07b", "a\\u{1b}]0;title\\u{7}b"),
            ("a\rb\u{9B}31mc\0", "a\\u{d}b\\u{9b}31mc\\u{0}"),
            ("a\u{202E}b", "a\\u{202e}b"),
            ("a\x1B[31mb", "a\\u{1b}[31mb"),
        ] {
            assert_eq!(clean(text, false), shown);
        }
    }

    #[test]
    fn colours_alone_may_stay() {
        let text = "\x1B[31;1mred\x1B[0m \x1B[2J \x1B[31 \x1B[3";
        assert_eq!(clean(text, true), "\x1B[31;1mred\x1B[0m \\u{1b}[2J \\u{1b}[31 \\u{1b}[3");
    }
}
