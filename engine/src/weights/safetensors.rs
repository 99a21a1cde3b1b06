//! Reads the headers of safetensors files and checks that the data they promise is there. It reads no data.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::{Dtype, SafeTensors};

use super::bytes::Bytes;
use crate::error::Error;
use crate::files::Files;

/// Where one tensor lies.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) file: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

/// The tensors of a component and the files that hold them.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) files: Vec<(String, Option<Bytes>)>,
    pub(super) entries: BTreeMap<String, Entry>,
}

/// Opens `stem.safetensors`, or the files that `stem.safetensors.index.json` lists.
pub(super) fn open(files: &Files, stem: &str) -> Result<Layout, Error> {
    let mut layout = Layout::default();
    let (single, index) = (format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json"));
    if files.has(&single) || !files.has(&index) {
        layout.add(files, single)?;
        return Ok(layout);
    }
    let map = weight_map(files, &index)?;
    let folder = stem.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut shards: Vec<&String> = map.values().collect();
    shards.sort_unstable();
    shards.dedup();
    for shard in shards {
        layout.add(files, format!("{folder}{shard}"))?;
    }
    for (tensor, shard) in &map {
        if !layout.entries.contains_key(tensor) {
            return Err(Error::MissingTensor { file: format!("{folder}{shard}"), tensor: tensor.clone() });
        }
    }
    Ok(layout)
}

fn weight_map(files: &Files, index: &str) -> Result<BTreeMap<String, String>, Error> {
    let bad = |message: &str| Error::Config {
        file: index.to_owned(),
        key: "weight_map".into(),
        message: message.to_owned(),
    };
    let json = files.json(index)?;
    let map = json.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| bad("not an object"))?;
    map.iter()
        .map(|(tensor, file)| match file.as_str() {
            Some(file) if !file.contains(['/', '\\']) => Ok((tensor.clone(), file.to_owned())),
            _ => Err(bad("a file that is not a plain name beside the index")),
        })
        .collect()
}

impl Layout {
    fn add(&mut self, files: &Files, name: String) -> Result<(), Error> {
        let bytes = files.map(&name)?;
        let cut = |detail: String| Error::Truncated { file: name.clone(), detail };
        let whole = bytes.get();
        let (header, metadata) = SafeTensors::read_metadata(whole).map_err(|e| cut(e.to_string()))?;
        let start = 8 + header;
        let tensors = metadata.tensors();
        let promised = start + tensors.values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        if whole.len() != promised {
            return Err(cut(format!("the header promises {promised} bytes, the file has {}", whole.len())));
        }
        let file = self.files.len();
        for (tensor, info) in tensors {
            let (from, to) = info.data_offsets;
            let entry =
                Entry { file, dtype: info.dtype, shape: info.shape.clone(), range: start + from..start + to };
            self.entries.insert(tensor, entry);
        }
        self.files.push((name, Some(bytes)));
        Ok(())
    }
}
