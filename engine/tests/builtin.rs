//! The model inside the program is the folder in the repository, and renders without being told anything but a prompt.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use croft_engine::card::card;
use croft_engine::error::Error;
use croft_engine::pipelines::Pipeline;
use croft_engine::request::{Params, Request, Value};

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

/// What `tiled_decode` makes of tiles is held to diffusers in the engine's own tests; this is the way there.
#[test]
fn frames_are_decoded_in_tiles_where_it_is_asked_and_they_are_larger() {
    let pipeline = Pipeline::load("builtin://shapes").unwrap();
    let render = |size: &str, tiling: Value| {
        let params = Params::from([
            ("size".to_owned(), Value::Text(size.to_owned())),
            ("steps".to_owned(), Value::Number(1.0)),
            ("num_frames".to_owned(), Value::Number(9.0)),
            ("vae_tiling".to_owned(), tiling),
        ]);
        let request = Request::from_params(pipeline.card(), "a red circle", "", 1, &params)?;
        pipeline.render(&request, &mut ()).map(|clip| clip.frames)
    };
    let small = [false, true].map(|flag| render("96x96", Value::Flag(flag)).unwrap());
    assert_eq!(small[0], small[1]);
    let [whole, tiled] = [false, true].map(|flag| render("544x96", Value::Flag(flag)).unwrap());
    assert_eq!(tiled.len(), whole.len());
    assert_ne!(tiled, whole, "a seam is blended, not seen through");
    let far = |column: usize| {
        let at = |frames: &[Vec<f32>]| frames[0][3 * (48 * 544 + column)];
        (at(&whole) - at(&tiled)).abs()
    };
    assert!(far(0) <= 1e-4, "far from the seam nothing changes: {}", far(0));
    let wrong = render("96x96", Value::Number(1.0)).unwrap_err();
    assert!(matches!(wrong, Error::BadRequest { param, .. } if param == "vae_tiling"));
}
