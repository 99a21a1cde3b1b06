//! The model inside the program is the folder in the repository, and renders without being told anything but a prompt.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use croft_engine::card::card;
use croft_engine::pipelines::Pipeline;
use croft_engine::request::{Params, Request};

#[test]
fn the_built_in_model_is_the_folder_in_the_repository() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/shapes");
    let (inside, outside) = (card("builtin://shapes").unwrap(), card(folder.to_str().unwrap()).unwrap());
    assert_eq!(inside.digest, outside.digest);
    assert_eq!((inside.name, inside.parameters), (outside.name, outside.parameters));
}

#[test]
fn a_prompt_is_enough_for_the_built_in_model() {
    let pipeline = Pipeline::load("builtin://shapes").unwrap();
    let prompt = "a red circle moving right on a black background";
    let request = Request::from_params(pipeline.card(), prompt, "", 1, &Params::new()).unwrap();
    let clip = pipeline.render(&request, &mut ()).unwrap();
    assert_eq!((clip.width, clip.height, clip.frames.len()), (96, 96, 17));
}
