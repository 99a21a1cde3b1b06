//! The models that are part of the program. It holds bytes; `files` gives them names.

/// Name and content of the files of the built-in model `name`.
pub(crate) fn find(_name: &str) -> Option<&'static [(&'static str, &'static [u8])]> {
    None
}
