//! Models that are broken and requests that cannot be done end with an error that names the place, never with a clip.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{golden, model as whole, request};
use croft_engine::card::card;
use croft_engine::error::{Class, Error};
use croft_engine::parallel::Split;
use croft_engine::pipelines::Pipeline;
use croft_engine::progress::Observer;
use croft_engine::request::{Request, Value};
use croft_engine::residency::Residency;
use tempfile::TempDir;

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

/// A copy of a reference model that a test may break.
fn copy(name: &str) -> TempDir {
    let into = tempfile::tempdir().unwrap();
    copy_folder(&golden(name).join("pipe"), into.path());
    into
}

fn copy_folder(from: &Path, into: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, into) = {
            let entry = entry.unwrap();
            (entry.path(), into.join(entry.file_name()))
        };
        if from.is_dir() {
            std::fs::create_dir(&into).unwrap();
            copy_folder(&from, &into);
        } else {
            std::fs::write(into, std::fs::read(from).unwrap()).unwrap();
        }
    }
}

fn failure(folder: &TempDir) -> Error {
    let model = folder.path().to_str().unwrap();
    let error = card(model).expect_err("a broken model has no card");
    let again = Pipeline::load(model).expect_err("a broken model does not load");
    assert_eq!(error.to_string(), again.to_string());
    // What is read in the middle of a render is refused before its beginning.
    for late in [Residency::Sequential, Residency::Streamed] {
        let opened = Pipeline::load_split(model, card(&whole("ltx")).unwrap(), &Split::whole(), late);
        assert_eq!(error.to_string(), opened.expect_err("nor does it open").to_string());
    }
    error
}

/// Changes the JSON file `name` of a model.
fn edit(folder: &TempDir, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.path().join(name);
    let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_a_missing_model() {
    let error = card("/nowhere/ltx").unwrap_err();
    assert_eq!(error.class(), Class::ModelMissing);
    assert!(matches!(card("builtin://nothing"), Err(Error::UnknownModel { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let folder = copy("ltx");
    std::fs::remove_file(folder.path().join(TRANSFORMER)).unwrap();
    let error = failure(&folder);
    assert_eq!(error.class(), Class::ModelMissing);
    assert!(error.to_string().contains(TRANSFORMER), "{error}");
}

#[test]
fn a_truncated_file_is_named_with_its_lengths() {
    let folder = copy("ltx");
    let path = folder.path().join(TRANSFORMER);
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = failure(&folder);
        assert!(matches!(&error, Error::Truncated { file, .. } if file == TRANSFORMER), "{length}: {error}");
        assert_eq!(error.class(), Class::ModelCorrupt);
    }
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let folder = copy("ltx");
    edit(&folder, "text_encoder/config.json", |json| json["d_ff"] = 38.into());
    let error = failure(&folder);
    let Error::WrongShape { file, tensor, expected, found } = error else { panic!("{error}") };
    assert_eq!(file, "text_encoder/model.safetensors");
    assert_eq!(tensor, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight");
    assert_eq!((expected, found), (vec![38, 32], vec![37, 32]));
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = copy("ltx");
    edit(&folder, "transformer/config.json", |json| json["num_layers"] = 3.into());
    let error = failure(&folder);
    assert!(
        matches!(&error, Error::MissingTensor { tensor, .. } if tensor.starts_with("transformer_blocks.2.")),
        "{error}"
    );
}

#[test]
fn tensors_that_the_architecture_does_not_have_are_refused() {
    let folder = copy("ltx");
    edit(&folder, "transformer/config.json", |json| json["num_layers"] = 1.into());
    let error = failure(&folder);
    let Error::Unused { file, tensors } = error else { panic!("{error}") };
    assert_eq!(file, TRANSFORMER);
    assert!(tensors.iter().all(|t| t.starts_with("transformer_blocks.1.")));
}

#[test]
fn sizes_that_no_model_has_are_refused_and_never_reckoned_with() {
    let whole = copy("ltx");
    for (file, key, value) in [
        ("vae/config.json", "block_out_channels", serde_json::json!([])),
        ("vae/config.json", "block_out_channels", serde_json::json!([u64::MAX, 8, 8, 8])),
        ("vae/config.json", "spatio_temporal_scaling", serde_json::json!(vec![true; 70])),
        ("vae/config.json", "patch_size", (1_u64 << 31).into()),
        ("vae/config.json", "latent_channels", u64::MAX.into()),
        ("vae/config.json", "decoder_layers_per_block", serde_json::json!(vec![0; 100_000])),
        ("vae/config.json", "spatial_compression_ratio", 0.into()),
        ("vae/config.json", "spatial_compression_ratio", 4096.into()),
        ("vae/config.json", "spatial_compression_ratio", 33.into()),
        ("text_encoder/config.json", "relative_attention_num_buckets", 1.into()),
        ("text_encoder/config.json", "num_heads", (1_u64 << 32).into()),
        ("transformer/config.json", "attention_head_dim", 0xFFFF_FFFE_u64.into()),
    ] {
        let before = std::fs::read(whole.path().join(file)).unwrap();
        edit(&whole, file, |json| json[key] = value.clone());
        let error = failure(&whole);
        let is_it = matches!(&error, Error::Config { file: f, key: k, .. } if f == file && k == key);
        assert!(is_it, "{key}: {value}: {error}");
        std::fs::write(whole.path().join(file), before).unwrap();
    }
}

#[test]
fn an_upsampler_that_has_nothing_to_add_is_refused() {
    let folder = copy("ltx095");
    let narrow = serde_json::json!([4, 16, 32]);
    edit(&folder, "vae/config.json", |json| json["decoder_block_out_channels"] = narrow);
    let error = failure(&folder);
    assert!(matches!(&error, Error::Config { key, .. } if key == "upsample_residual"), "{error}");
}

#[test]
fn pieces_that_are_not_sentencepiece_are_refused() {
    let folder = copy("ltx");
    let tokenizer = folder.path().join("tokenizer");
    std::fs::rename(tokenizer.join("tokenizer.json"), tokenizer.join("spiece.model")).unwrap();
    let error = failure(&folder);
    assert!(matches!(&error, Error::Config { file, .. } if file == "tokenizer/spiece.model"), "{error}");
}

#[test]
fn a_model_over_several_files_is_the_same_model() {
    let folder = copy("ltx");
    shard(&folder.path().join("transformer"));
    let whole = Pipeline::load(&whole("ltx")).unwrap().render(&request("ltx"), &mut ()).unwrap();
    let sharded = Pipeline::load(folder.path().to_str().unwrap()).unwrap().render(&request("ltx"), &mut ());
    assert_eq!(whole.frames, sharded.unwrap().frames);
}

/// Splits the weights of a component into two files and an index.
fn shard(component: &Path) {
    use safetensors::{SafeTensors, serialize_to_file};
    let path = component.join("diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let mut map = serde_json::Map::new();
    for (i, half) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let file = format!("diffusion_pytorch_model-{}-of-2.safetensors", i + 1);
        serialize_to_file(half.iter().map(|(n, t)| (n.as_str(), t)), None, &component.join(&file)).unwrap();
        map.extend(half.iter().map(|(name, _)| (name.clone(), file.clone().into())));
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(component.join("diffusion_pytorch_model.safetensors.index.json"), index.to_string())
        .unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn weights_that_are_not_numbers_never_become_a_clip() {
    let folder = copy("ltx");
    let path = folder.path().join(TRANSFORMER);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let pipeline = Pipeline::load(folder.path().to_str().unwrap()).unwrap();
    let error = pipeline.render(&request("ltx"), &mut ()).unwrap_err();
    assert!(matches!(error, Error::NanOutput { step: Some(1), .. }), "{error}");
    assert_eq!(error.class(), Class::NanOutput);
}

#[test]
fn a_cancelled_render_ends_after_the_step_it_is_in_and_hands_that_step_over() {
    #[derive(Default)]
    struct Impatient {
        step: u32,
        latents: Vec<f32>,
        halted: Option<(u32, Vec<f32>)>,
    }
    impl Observer for Impatient {
        fn latents(&mut self, step: u32, latents: &[f32]) {
            (self.step, self.latents) = (step, latents.to_vec());
        }
        fn halted(&mut self, step: u32, latents: &[f32]) {
            self.halted = Some((step, latents.to_vec()));
        }
        fn cancelled(&self) -> bool {
            self.step >= 2
        }
    }
    let pipeline = Pipeline::load(&whole("ltx")).unwrap();
    let mut observer = Impatient::default();
    let error = pipeline.render(&request("ltx"), &mut observer).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(observer.step, 2);
    assert_eq!(observer.halted, Some((2, observer.latents)));
}

#[test]
fn a_size_that_does_not_fit_names_the_nearest_that_does() {
    let card = card(&whole("ltx")).unwrap();
    let ask = |name: &str, value: Value| {
        let params = BTreeMap::from([(name.to_owned(), value)]);
        Request::from_params(&card, "a square", "", 1, &params).map_err(|error| {
            assert_eq!(error.class(), Class::Request);
            error.remedy()
        })
    };
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(ask("size", text("700x500")).unwrap_err(), "the nearest is 704x512");
    assert_eq!(ask("size", text("0x99999")).unwrap_err(), "the nearest is 32x2048");
    assert_eq!(ask("size", text("wide")).unwrap_err(), "write it as 704x512");
    assert_eq!(ask("num_frames", Value::Number(120.0)).unwrap_err(), "the nearest is 121");
    assert_eq!(ask("steps", Value::Number(0.0)).unwrap_err(), "the nearest is 1");
    assert_eq!(ask("guidance", Value::Number(f64::NAN)).unwrap_err(), "give a number from 1 to 50");
    assert!(ask("stepz", Value::Number(3.0)).unwrap_err().contains("steps"));
    let request = ask("steps", Value::Number(7.0)).unwrap();
    assert_eq!((request.steps, request.width, request.height, request.num_frames), (7, 704, 512, 161));
}

#[test]
fn a_folder_may_bring_its_own_defaults() {
    let folder = copy("ltx095");
    let own = r#"{"defaults": {"size": "96x64", "num_frames": 17, "steps": 4, "guidance": 2.0}}"#;
    std::fs::write(folder.path().join("croft.json"), own).unwrap();
    let model = folder.path().to_str().unwrap();
    let request = Request::from_params(&card(model).unwrap(), "", "", 1, &BTreeMap::new()).unwrap();
    assert_eq!((request.width, request.height, request.num_frames, request.steps), (96, 64, 17, 4));
    std::fs::write(folder.path().join("croft.json"), r#"{"defaults": {"size": "97x64"}}"#).unwrap();
    assert!(matches!(card(model), Err(Error::Config { key, .. }) if key == "defaults.size"));
}

#[test]
fn a_digest_changes_with_any_byte_and_with_nothing_else() {
    let folder = copy("ltx");
    let digest = |folder: &TempDir| card(folder.path().to_str().unwrap()).unwrap().digest;
    let before = digest(&folder);
    assert_eq!(before, card(&whole("ltx")).unwrap().digest);
    let path = folder.path().join(TRANSFORMER);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(path, bytes).unwrap();
    assert_ne!(before, digest(&folder));
}
