//! How a picture says what made it: the `parameters` text that the field's viewers and galleries read.
//!
//! Only what can be said in that form goes here; the sidecar has the whole recipe.

use std::fmt;

/// What the text names. `Display` writes the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub prompt: String,
    pub negative_prompt: String,
    pub steps: u32,
    pub guidance: f64,
    pub seed: u64,
    pub width: usize,
    pub height: usize,
    /// A name for people: the last part of a path, the name after `builtin://`.
    pub model: String,
    /// sha256, hex; its first ten digits are shown.
    pub model_digest: String,
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", clean(&self.prompt))?;
        if !self.negative_prompt.is_empty() {
            writeln!(f, "Negative prompt: {}", clean(&self.negative_prompt))?;
        }
        write!(
            f,
            "Steps: {}, Sampler: Euler flow match, CFG scale: {}, Seed: {}, Size: {}x{}, Model: {}",
            self.steps,
            self.guidance,
            self.seed,
            self.width,
            self.height,
            quoted(&model_name(&self.model)),
        )?;
        match self.model_digest.get(..10) {
            Some(hash) => write!(f, ", Model hash: {hash}"),
            None => Ok(()),
        }
    }
}

/// `builtin://shapes` and `/models/ltx-video/` as people call them.
fn model_name(model: &str) -> String {
    model.trim_end_matches('/').rsplit('/').next().unwrap_or(model).to_owned()
}

/// PNG text ends at a NUL; readers split off the last line, so a line must not end in a carriage return.
fn clean(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{fffd}").trim_end().to_owned()
}

/// The readers split at commas and colons, but for values in JSON quotes.
fn quoted(value: &str) -> String {
    match value.contains([',', ':', '"', '\n']) {
        true => serde_json::Value::from(value).to_string(),
        false => value.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::codecs) fn sample() -> Parameters {
        Parameters {
            prompt: "a red ball rolls to the left".into(),
            negative_prompt: "blurry".into(),
            steps: 20,
            guidance: 3.5,
            seed: 4103,
            width: 96,
            height: 64,
            model: "builtin://shapes".into(),
            model_digest: "0123456789abcdef".into(),
        }
    }

    #[test]
    fn the_text_has_the_form_that_readers_know() {
        assert_eq!(
            sample().to_string(),
            "a red ball rolls to the left\nNegative prompt: blurry\nSteps: 20, Sampler: Euler flow match, \
             CFG scale: 3.5, Seed: 4103, Size: 96x64, Model: shapes, Model hash: 0123456789"
        );
    }

    #[test]
    fn whole_guidance_is_written_without_a_point_and_no_negative_prompt_leaves_no_line() {
        let text = Parameters { guidance: 3.0, negative_prompt: String::new(), ..sample() }.to_string();
        assert!(text.contains("CFG scale: 3,"));
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_model_with_a_comma_is_quoted() {
        let text = Parameters { model: "/models/a, b: c".into(), ..sample() }.to_string();
        assert!(text.contains(r#"Model: "a, b: c","#), "{text}");
    }
}
