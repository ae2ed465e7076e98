//! Files that programs keep for themselves.

/// Folders that systems keep for themselves without a dot: in macOS' archives, of Synology's thumbnails, of deleted files.
const FOLDERS: [&str; 4] = ["__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN"];

/// Whether a path below a folder is hidden: `.x`, macOS' `._x`, `.ipynb_checkpoints`, and what lies in a folder that systems keep
/// for themselves.
pub fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| FOLDERS.contains(&part) || part.starts_with('.') && part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_is_what_begins_with_a_dot() {
        for (path, hidden) in [
            ("._a.png", true),
            ("a/.ipynb_checkpoints/a.png", true),
            ("__MACOSX/a.png", true),
            ("sub/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", true),
            ("./a.png", false),
            ("a.b/c.d.png", false),
            ("..", true),
        ] {
            assert_eq!(is_hidden(path), hidden, "{path}");
        }
    }
}
