//! A clip to files in the attempt's own folder, by the names that the recipe gives. Nothing here publishes.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use croft_engine::{
    codecs::{self, Frame, mp4, parameters::Parameters, png},
    pipelines::Clip,
    request::Request,
};
use croft_proto::v1::{ExitCause, OutputPlan, RankFailed, Recipe};
use rayon::prelude::*;

/// Why a clip did not become files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the recipe says nothing of its output")]
    NoOutput,
    #[error("'{name}' is no name below the attempt's folder")]
    Name { name: String },
    #[error("{name}: {source}")]
    Codec { name: String, source: codecs::Error },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn failed(&self, id: u64) -> RankFailed {
        let (cause, remedy) = match self {
            Self::NoOutput | Self::Name { .. } => (ExitCause::BadSpec, "see the layer's output template"),
            Self::Codec { .. } => (ExitCause::BadSpec, "see the layer's size, png and preview"),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    (ExitCause::DiskFull, "make room on this worker's disk, or give it another --data-dir")
                }
                _ => (ExitCause::Internal, "see whether the worker may write to its --data-dir"),
            },
        };
        RankFailed {
            id,
            cause: cause.into(),
            message: self.to_string(),
            remedy: remedy.to_owned(),
            ..RankFailed::default()
        }
    }
}

/// Writes frames and preview below `scratch`; gives their names there.
pub(crate) fn clip(
    clip: &Clip,
    request: &Request,
    recipe: &Recipe,
    scratch: &Path,
) -> Result<Vec<String>, Error> {
    let output = recipe.output.as_ref().ok_or(Error::NoOutput)?;
    let (width, height) = (clip.width as usize, clip.height as usize);
    let parameters = Parameters {
        prompt: recipe.prompt.clone(),
        negative_prompt: recipe.negative_prompt.clone(),
        steps: request.steps,
        guidance: request.guidance,
        seed: recipe.seed,
        width,
        height,
        model: recipe.model.clone(),
        model_digest: recipe.model_digest.clone(),
    };
    let frames: Vec<Frame<'_>> = clip
        .frames
        .iter()
        .map(|rgb| Frame::new(width, height, rgb))
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Codec { name: output.frames_dir.clone(), source })?;
    let pictures = pictures(output, &frames)?;
    let mut files: Vec<String> = pictures
        .into_par_iter()
        .map(|(name, frame)| {
            let bytes = png::encode(frame, output.png_bits, &parameters)
                .map_err(|source| Error::Codec { name: name.clone(), source })?;
            write(scratch, &name, &bytes)?;
            Ok(name)
        })
        .collect::<Result<_, Error>>()?;
    if !output.preview.is_empty() {
        let bytes = mp4::encode(frames.iter().copied(), clip.fps)
            .map_err(|source| Error::Codec { name: output.preview.clone(), source })?;
        write(scratch, &output.preview, &bytes)?;
        files.push(output.preview.clone());
    }
    Ok(files)
}

/// Which frame goes into which file: all of a clip, the first for a still.
fn pictures<'a>(output: &OutputPlan, frames: &[Frame<'a>]) -> Result<Vec<(String, Frame<'a>)>, Error> {
    if !output.still.is_empty() {
        return Ok(frames.first().map(|frame| (output.still.clone(), *frame)).into_iter().collect());
    }
    if output.frames_dir.is_empty() {
        return Err(Error::NoOutput);
    }
    let name = |at: usize| format!("{}/{:04}.png", output.frames_dir, at + 1);
    Ok(frames.iter().enumerate().map(|(at, frame)| (name(at), *frame)).collect())
}

fn write(scratch: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    // Templates were checked when the job was planned; a rank trusts no path all the same.
    if name.is_empty() || !Path::new(name).components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let path = scratch.join(name);
    let failed = |source| Error::Io { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(&path, bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        let scratch = tempfile::tempdir().expect("scratch");
        for name in ["../x.png", "/x.png", "a/../../x.png", ""] {
            assert!(matches!(write(scratch.path(), name, b"x"), Err(Error::Name { .. })), "{name}");
        }
        write(scratch.path(), "a/b/0001.png", b"x").expect("below");
    }

    #[test]
    fn a_full_disk_is_called_one() {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        let failed = Error::Io { path: "scratch/0001.png".into(), source }.failed(7);
        assert_eq!(failed.cause(), ExitCause::DiskFull);
        assert!(failed.message.contains("scratch/0001.png") && failed.remedy.contains("--data-dir"));
    }
}
