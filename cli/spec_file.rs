//! A job spec on a client's disk: read within bounds, with the files it names, and its model folders made absolute.
//!
//! What the spec means is the core's business; here are only its bytes and its problems in words.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use croft_core::{
    model_card::ModelCard,
    plan::Plan,
    spec::{self, Problem, SPEC_BYTES_MAX, Source, Spec},
};

use crate::{
    config::absolute,
    exit::{Exit, Failed, Message},
};

/// All files that a spec names, together: they travel in one message.
const FILES_BYTES_MAX: u64 = 8 << 20;

/// Problems shown of one spec: a broken template of a big batch can have one for each task.
const PROBLEMS_MAX: usize = 20;

/// A spec as the client sends it.
#[derive(Debug, Clone)]
pub(crate) struct SpecFile {
    /// What messages call it.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) set: Vec<String>,
}

impl SpecFile {
    /// Reads the spec at `path` (`-` is standard input) and the files it names, which lie in its folder.
    pub(crate) fn read(path: &Path, set: &[String]) -> Result<Self, Failed> {
        let (name, folder, bytes) = if path == Path::new("-") {
            ("<stdin>".to_owned(), PathBuf::from("."), bounded(io::stdin().lock(), SPEC_BYTES_MAX as u64))
        } else {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let bytes = File::open(path).and_then(|file| bounded_file(file, SPEC_BYTES_MAX as u64));
            (path.display().to_string(), folder.to_owned(), bytes)
        };
        let bytes = bytes.map_err(|e| unreadable(&name, &e))?.ok_or_else(|| {
            Failed::with(Exit::Spec, format!("{name}: larger than {SPEC_BYTES_MAX} bytes, the most a spec may have"))
                .help("name rows of a CSV file by an axis (`scene: {file: scenes.csv, id: scene_id}`), or split the job")
        })?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let upto = e.utf8_error().valid_up_to();
            let line = e.as_bytes()[..upto].iter().filter(|&&b| b == b'\n').count() + 1;
            Failed::with(Exit::Spec, format!("{name}:{line}: not UTF-8 text"))
                .help("a spec is YAML or JSON, saved as UTF-8")
        })?;
        let files = read_files(&name, &folder, &spec::files_named(&text))?;
        let mut this = Self { name, text, files, set: set.to_vec() };
        this.set.extend(absolute_models(&this, &folder)?);
        Ok(this)
    }

    /// A spec that the command line itself made.
    pub(crate) fn made(name: &str, text: String, set: &[String]) -> Self {
        Self { name: name.to_owned(), text, files: BTreeMap::new(), set: set.to_vec() }
    }

    /// Checks the text; all problems at once.
    pub(crate) fn parse(&self) -> Result<Spec, Failed> {
        let source = Source { name: &self.name, text: &self.text, files: &self.files, set: &self.set };
        spec::parse(&source).map_err(|problems| self.refused(&problems))
    }

    /// Expands a checked spec with the cards of its models.
    pub(crate) fn plan(&self, spec: Spec, cards: &BTreeMap<String, ModelCard>) -> Result<Plan, Failed> {
        Plan::new(spec, cards).map_err(|problems| self.refused(&problems))
    }

    fn refused(&self, problems: &[Problem]) -> Failed {
        let mut messages: Vec<Message> = problems
            .iter()
            .take(PROBLEMS_MAX)
            .map(|p| Message {
                text: format!("{}:{}:{}: {}: {}", self.name, p.line, p.column, p.field, p.message),
                help: Some(p.remedy.clone()),
            })
            .collect();
        if problems.len() > PROBLEMS_MAX {
            let rest = problems.len() - PROBLEMS_MAX;
            messages.push(Message { text: format!("{}: and {rest} more problems", self.name), help: None });
        }
        Failed { exit: Exit::Spec, messages }
    }
}

/// The cards of the models that are on this machine, and the names of those that are not.
#[derive(Debug, Default)]
pub(crate) struct Cards {
    pub(crate) found: BTreeMap<String, ModelCard>,
    pub(crate) elsewhere: Vec<String>,
}

impl Cards {
    /// Asks the registry. A model folder that is here but broken is a failure; one that is not here may be
    /// on the farm's machines.
    pub(crate) fn of(spec: &Spec, file: &SpecFile) -> Result<Self, Failed> {
        let mut cards = Self::default();
        let mut messages = Vec::new();
        for model in spec.models() {
            let is_here = model.contains("://") || Path::new(&model).exists();
            match croft_coordinator::registry::card(&model) {
                Ok(card) => drop(cards.found.insert(model, card)),
                Err(_) if !is_here => cards.elsewhere.push(model),
                Err(error) => {
                    let (what, remedy) = error.told();
                    let layer = spec.layers.iter().position(|layer| layer.model == model).unwrap_or(0);
                    let text = format!("{}: layers[{layer}].model: {what}", file.name);
                    messages.push(Message { text, help: Some(remedy) });
                }
            }
        }
        if messages.is_empty() { Ok(cards) } else { Err(Failed { exit: Exit::Spec, messages }) }
    }

    /// For a farm on this machine: nothing may be elsewhere.
    pub(crate) fn all_here(self, file: &SpecFile) -> Result<BTreeMap<String, ModelCard>, Failed> {
        if self.elsewhere.is_empty() {
            return Ok(self.found);
        }
        let messages = self.elsewhere.iter().map(|model| Message {
            text: format!("{}: model {model}: there is no such folder", file.name),
            help: Some("a model is builtin://shapes or a folder in diffusers' layout; relative ones start at the spec's folder".into()),
        });
        Err(Failed { exit: Exit::Spec, messages: messages.collect() })
    }
}

/// `--set` entries that give relative model folders from the root on: the farm knows no client's folder.
fn absolute_models(file: &SpecFile, folder: &Path) -> Result<Vec<String>, Failed> {
    let Ok(spec) = file.parse() else {
        // Its problems are told when it is checked.
        return Ok(Vec::new());
    };
    let mut set = Vec::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        let model = layer.model.as_str();
        let is_name = model.contains("://") || Path::new(model).is_absolute();
        let path = folder.join(model);
        if !is_name && (model.contains('/') || path.is_dir()) {
            set.push(format!("layers.{index}.model={}", absolute(path)?.display()));
        }
    }
    Ok(set)
}

fn read_files(spec: &str, folder: &Path, names: &[String]) -> Result<BTreeMap<String, Vec<u8>>, Failed> {
    let mut files = BTreeMap::new();
    let mut left = FILES_BYTES_MAX;
    for name in names {
        let stays =
            Path::new(name).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !stays {
            return Err(Failed::with(
                Exit::Spec,
                format!("{spec}: file '{name}' lies outside the spec's folder"),
            )
            .help("put it beside the spec and name it by its relative path"));
        }
        let path = folder.join(name);
        let bytes = File::open(&path)
            .and_then(|file| bounded_file(file, left))
            .map_err(|e| unreadable(&format!("{spec}: file '{}'", path.display()), &e))?
            .ok_or_else(|| {
                Failed::with(
                    Exit::Spec,
                    format!("{spec}: with '{name}' the files it names exceed {} MiB", FILES_BYTES_MAX >> 20),
                )
                .help("leave out columns that no prompt uses, or split the job")
            })?;
        left -= bytes.len() as u64;
        files.insert(name.clone(), bytes);
    }
    Ok(files)
}

fn unreadable(name: &str, error: &io::Error) -> Failed {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    Failed::with(exit, format!("{name}: {error}"))
}

/// A file's bytes, or `None` when there are more than `max`. Folders are refused as such.
fn bounded_file(file: File, max: u64) -> io::Result<Option<Vec<u8>>> {
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::other("is a folder"));
    }
    if meta.is_file() && meta.len() > max {
        return Ok(None);
    }
    bounded(file, max)
}

fn bounded(reader: impl Read, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}
