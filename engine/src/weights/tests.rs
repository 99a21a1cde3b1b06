//! What a file may hold and what is refused.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use super::Source;
use crate::error::Error;
use crate::files::Files;

/// A folder with the component `m/w` of the given tensors.
fn component(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("m")).unwrap();
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap()));
    std::fs::write(folder.path().join("m/w.safetensors"), serialize(views, None).unwrap()).unwrap();
    let files = Files::Folder(folder.path().to_owned());
    (folder, files)
}

const THREE: [f32; 3] = [1.0, -0.5, 384.0];

fn stored(dtype: Dtype) -> Vec<u8> {
    let bytes = |value: f32| match dtype {
        Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    THREE.into_iter().flat_map(bytes).collect()
}

#[test]
fn each_stored_form_is_read_as_f32() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        // A single byte in front leaves what follows unaligned.
        let odd = ("a", Dtype::U8, &[1][..], vec![0]);
        let (_folder, files) = component(&[odd, ("t", dtype, &[3, 1], stored(dtype))]);
        let mut source = Source::open(&files, "m/w").unwrap();
        assert_eq!(source.take("t", &[3, 1]).unwrap().into_vec(), THREE, "{dtype:?}");
        let tensor = source.take("t", &[3, 1]).unwrap();
        let mut row = [0.0];
        assert!(tensor.row(2, &mut row) && row == [384.0], "{dtype:?}");
        assert!(!tensor.row(3, &mut row), "no fourth row");
        assert_eq!(source.parameters(), 3, "a tensor that is taken twice counts once");
        assert!(matches!(source.take("a", &[1]), Err(Error::WrongDtype { .. })));
        assert!(matches!(source.finish(), Err(Error::Unused { tensors, .. }) if tensors == ["a"]));
    }
}

#[test]
fn headers_alone_give_no_numbers() {
    let (_folder, files) = component(&[("t", Dtype::F32, &[3, 1], stored(Dtype::F32))]);
    let mut source = Source::headers(&files, "m/w").unwrap();
    assert!(source.take("t", &[3, 1]).unwrap().into_vec().is_empty());
    assert_eq!(source.take("t", &[3, 1]).unwrap().into_linear().unwrap().n(), 0);
    assert!(matches!(source.take("t", &[1, 3]), Err(Error::WrongShape { .. })));
    assert!(source.finish().is_ok());
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    let (folder, files) = component(&[("t", Dtype::F32, &[3], stored(Dtype::F32))]);
    let index = r#"{"weight_map": {"t": "../m/w.safetensors"}}"#;
    std::fs::write(folder.path().join("m/v.safetensors.index.json"), index).unwrap();
    let error = Source::open(&files, "m/v").unwrap_err();
    assert!(matches!(&error, Error::Config { key, .. } if key == "weight_map"), "{error}");
}

#[test]
fn an_index_that_names_a_tensor_its_file_lacks_is_refused() {
    let (folder, files) = component(&[("t", Dtype::F32, &[3], stored(Dtype::F32))]);
    let index = r#"{"weight_map": {"t": "w.safetensors", "u": "w.safetensors"}}"#;
    std::fs::write(folder.path().join("m/v.safetensors.index.json"), index).unwrap();
    let error = Source::open(&files, "m/v").unwrap_err();
    assert!(matches!(&error, Error::MissingTensor { tensor, .. } if tensor == "u"), "{error}");
}
