//! Paths that strangers name: which of them may be read, and which may be written.

use object_store::path::Path;

/// A published file's path. The farm's own folders at the root of the store are none.
pub(crate) fn public(path: &str) -> Option<Path> {
    let path = Path::parse(path).ok()?;
    let hidden = path.parts().any(|part| part.as_ref().starts_with('.'));
    (!hidden && path.parts().next().is_some()).then_some(path)
}

/// A file of an attempt, named relative to the attempt's prefix.
pub(crate) fn of_attempt(prefix: &str, path: &str) -> Option<Path> {
    let inside = public(path)?;
    Path::parse(format!("{prefix}/{inside}")).ok()
}

/// Whether a publication may touch it: anything but the farm's own files.
pub(crate) fn is_public_or_attempt(path: &Path) -> bool {
    path.parts().next().is_some_and(|first| first.as_ref() != ".croft")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_store_or_reads_what_is_not_published() {
        for path in [
            "",
            "/",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            ".attempts/ad/hero",
            ".croft/store-id",
            "a/.b",
        ] {
            assert_eq!(public(path), None, "{path}");
        }
        assert_eq!(public("ad/tote/0001.png").unwrap().to_string(), "ad/tote/0001.png");
    }

    #[test]
    fn an_upload_stays_in_its_attempt() {
        let prefix = ".attempts/ad/hero/0001/1-7";
        assert_eq!(of_attempt(prefix, "../2-8/a.png"), None);
        assert_eq!(of_attempt(prefix, "sidecar.json").unwrap().to_string(), format!("{prefix}/sidecar.json"));
    }
}
