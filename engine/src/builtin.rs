//! The models that are part of the program. It holds bytes; `files` gives them names.

/// Name and content of each file of a model.
pub(crate) type Content = &'static [(&'static str, &'static [u8])];

/// The files that `FOLDER` must have, each under its own name.
macro_rules! folder {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../assets/", $folder, "/", $name)) as &[u8])),+]
    };
}

const SHAPES: Content = folder!("shapes":
    "croft.json",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
);

/// The files of the built-in model `name`.
pub(crate) fn find(name: &str) -> Option<Content> {
    (name == "shapes").then_some(SHAPES)
}
