//! Where outputs may lie: inside the store, under names that every store and file system can hold.

/// One folder's or file's name. Leaves room for `.json` and a job's `-2` below the 255 bytes of file systems.
const SEGMENT_BYTES_MAX: usize = 200;
/// Below the 1024 bytes of object stores, with room for an attempt's prefix.
const PATH_BYTES_MAX: usize = 700;
/// Endings of the files that Croft writes. No folder has one, so files and folders never meet.
pub(crate) const ENDINGS: [&str; 3] = [".png", ".mp4", ".json"];

/// What is wrong with the path of an output, if anything.
pub(crate) fn wrong(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some("is empty".to_owned());
    }
    if path.starts_with('/') {
        return Some("begins with '/'; outputs lie inside the store".to_owned());
    }
    if path.len() > PATH_BYTES_MAX {
        return Some(format!("has {} bytes, more than {PATH_BYTES_MAX}", path.len()));
    }
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        if let Some(wrong) = wrong_segment(segment) {
            return Some(wrong);
        }
        if segments.peek().is_some() && ending(segment).is_some() {
            return Some(format!("has a folder '{segment}' that is named like a file"));
        }
    }
    None
}

fn wrong_segment(segment: &str) -> Option<String> {
    if segment.is_empty() {
        return Some("has an empty part ('//' or '/' at the end)".to_owned());
    }
    if segment == "." || segment == ".." {
        return Some(format!("has '{segment}'; outputs stay inside their folder"));
    }
    if segment.starts_with('.') {
        return Some(format!("has a part '{}' that begins with '.'", short(segment)));
    }
    if segment.ends_with(['.', ' ']) || segment.starts_with(' ') {
        return Some(format!(
            "has a part '{}' that begins or ends with a space or ends with '.'",
            short(segment)
        ));
    }
    if let Some(bad) = segment.chars().find(|c| c.is_control() || r#"\:*?"<>|"#.contains(*c)) {
        return Some(format!("has {bad:?}, which not every file system can hold"));
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Some(format!("has a part of {} bytes, more than {SEGMENT_BYTES_MAX}", segment.len()));
    }
    None
}

fn short(segment: &str) -> String {
    segment.chars().take(40).collect::<String>().replace(char::is_control, "\u{fffd}")
}

/// Which of our endings a name has.
pub(crate) fn ending(name: &str) -> Option<&'static str> {
    ENDINGS.into_iter().find(|ending| {
        let from = name.len().checked_sub(ending.len());
        from.and_then(|from| name.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case(ending))
    })
}
