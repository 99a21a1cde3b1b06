//! Somebody in this process who wants to know when a rank waits.

/// Who hears that this rank waits.
#[derive(Default)]
pub(super) struct Hears(pub(super) Option<Box<dyn FnMut() + Send>>);

impl Hears {
    pub(super) fn waits(&mut self) {
        if let Some(hears) = &mut self.0 {
            hears();
        }
    }
}

impl std::fmt::Debug for Hears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Hears(…)" } else { "Hears" })
    }
}
