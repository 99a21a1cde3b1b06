//! The spec of one clip, written from the flags of `croft render --prompt`.

use serde_json::{Map, Value, json};

use crate::{args::Clip, config::absolute, exit::Failed, spec_file::SpecFile};

/// Of a prompt, what goes into the name of its files.
const SLUG_CHARS_MAX: usize = 40;

pub(super) fn spec(clip: &Clip, model: &str, prompt: &str, set: &[String]) -> Result<SpecFile, Failed> {
    let name = name(prompt, clip.seed);
    let model =
        if model.contains("://") { model.to_owned() } else { absolute(model.into())?.display().to_string() };
    let mut params = Map::new();
    let mut give = |name: &str, value: Option<Value>| {
        params.extend(value.map(|v| (name.to_owned(), v)));
    };
    give("steps", clip.steps.map(Value::from));
    give("guidance", clip.guidance.map(Value::from));
    give("size", clip.size.clone().map(Value::from));
    give("num_frames", clip.num_frames.map(Value::from));
    give("fps", clip.fps.map(Value::from));
    let mut layer = json!({
        "name": "clip", "model": model, "prompt": literal(prompt), "params": params, "output": name,
    });
    if let Some(negative) = &clip.negative_prompt {
        layer["negative_prompt"] = literal(negative).into();
    }
    let mut spec = json!({ "apiVersion": "croft/v1", "kind": "Job", "name": name, "layers": [layer] });
    if let Some(seed) = clip.seed {
        spec["axes"] = json!({ "seed": [seed] });
    }
    Ok(SpecFile::made("<flags>", format!("{spec:#}"), set))
}

/// A prompt on the command line is meant as it stands: braces in it name no axis.
fn literal(prompt: &str) -> String {
    prompt.replace('{', "{{").replace('}', "}}")
}

/// `a-red-circle-moving-right-s7`
fn name(prompt: &str, seed: Option<u64>) -> String {
    let mut slug = String::new();
    for c in prompt.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == SLUG_CHARS_MAX {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "clip" } else { slug };
    seed.map_or_else(|| slug.to_owned(), |seed| format!("{slug}-s{seed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_from_the_prompt_and_seed() {
        assert_eq!(name("A red circle, moving right!", Some(7)), "a-red-circle-moving-right-s7");
        assert_eq!(name("赤い丸", None), "clip");
        assert_eq!(name(&"word ".repeat(50), Some(u64::MAX)).len(), 39 + 2 + 20);
    }
}
