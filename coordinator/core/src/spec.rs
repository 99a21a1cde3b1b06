//! The job spec: text in, a checked value out, or every problem with its place and a remedy.
//!
//! What a spec says is checked here once; what a model says of it (which parameters, which sizes) is for
//! [`crate::plan`]. Nothing here reads a file: those that a spec names come along with it.
//!
//! ```
//! use std::collections::BTreeMap;
//! use croft_core::spec::{self, Source};
//!
//! let text = "apiVersion: croft/v1\nkind: Job\nname: shot\nlayers: [{name: a, model: m, promt: red}]";
//! let source = Source { name: "shot.yaml", text, files: &BTreeMap::new(), set: &[] };
//! let problems = spec::parse(&source).unwrap_err();
//! assert_eq!(problems[0].to_string(), "4:10: layers[0]: has no prompt; say what it shows, as in 'prompt: \"{product.text}\"'");
//! assert_eq!(problems[1].to_string(), "4:30: layers[0].promt: unknown key 'promt'; did you mean 'prompt'?");
//! ```

pub(crate) mod axes;
pub(crate) mod combine;
mod digest;
mod layer;
pub(crate) mod matrix;
mod overlay;
pub(crate) mod policy;
mod range;
mod read;
pub(crate) mod report;
mod resources;
mod table;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use axes::Axis;
pub(crate) use digest::string as json_string;
pub use layer::Layer;
pub(crate) use layer::{Param, Preview};
use matrix::Matrix;
use policy::Policy;
pub use policy::{NoProgress, Retries, StageLimits};
use read::{Fields, Found};
pub use report::Problem;
use report::{Place, Report, quoted};
pub use resources::{Ranks, Resources};
use template::Template;
use tree::{Node, Value};

/// A spec's text and what `--set` adds to it.
pub const SPEC_BYTES_MAX: usize = 1 << 20;
/// All files that a spec names, together.
pub const FILES_BYTES_MAX: usize = 8 << 20;

/// What a client sends.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What messages call it.
    pub name: &'a str,
    pub text: &'a str,
    /// Files that axes name, by the name they have there.
    pub files: &'a BTreeMap<String, Vec<u8>>,
    /// `path=value`, laid over the text one after another.
    pub set: &'a [String],
}

/// A checked spec.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub show: String,
    /// 0 to 100; higher first.
    pub priority: u32,
    pub labels: BTreeMap<String, String>,
    pub layers: Vec<Layer>,
    pub(crate) axes: Vec<Axis>,
    pub(crate) matrix: Matrix,
    pub(crate) policy: Policy,
    pub(crate) warnings: Vec<String>,
    /// What it was made of, to make it again.
    pub(crate) source: Kept,
    digest: String,
}

/// A [`Source`] that is owned, with the files that were used.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) set: Vec<String>,
}

impl Spec {
    /// Every model it names, once, in order of names.
    #[must_use]
    pub fn models(&self) -> Vec<String> {
        let models: BTreeSet<&String> = self.layers.iter().map(|layer| &layer.model).collect();
        models.into_iter().cloned().collect()
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn show(&self) -> &str {
        &self.show
    }

    /// More tasks than its plan can have: to tell a large plan before it is made.
    #[doc(hidden)]
    #[must_use]
    pub fn combinations(&self) -> u128 {
        let values = self.axes.iter().map(|axis| u128::from(axis.len().max(1)));
        values.fold(self.layers.len() as u128, u128::saturating_mul)
    }

    /// sha256, hex, of what the spec says with its files; layout, comments and order of keys do not count.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.clone()
    }
}

const KEYS: [&str; 10] =
    ["apiVersion", "kind", "name", "show", "priority", "labels", "axes", "matrix", "layers", "policy"];

/// Checks a spec.
///
/// # Errors
/// All problems, up to a bound, in the order of the text.
pub fn parse(source: &Source<'_>) -> Result<Spec, Vec<Problem>> {
    let size = source.set.iter().fold(source.text.len(), |size, pair| size.saturating_add(pair.len()));
    if size > SPEC_BYTES_MAX {
        let place = Place { line: 1, column: 1, field: String::new() };
        let message = format!("the spec has {size} bytes, more than {SPEC_BYTES_MAX}");
        return Err(vec![
            place.problem(message, "put long lists into a CSV file that an axis names, or split the job"),
        ]);
    }
    let mut report = Report::default();
    let mut root = tree::read(source.text, &mut report).map_err(|problem| vec![problem])?;
    overlay::lay(&mut root, source.set, &mut report);
    let spec = check(&root, source, &mut report);
    report.conclude(spec)
}

/// The files that a client must send along with this text; none when it cannot be read.
#[must_use]
pub fn files_named(text: &str) -> Vec<String> {
    if text.len() > SPEC_BYTES_MAX {
        return Vec::new();
    }
    let Ok(root) = tree::read(text, &mut Report::default()) else { return Vec::new() };
    let Some(Value::Map(all)) = root.get("axes").map(|axes| &axes.value) else { return Vec::new() };
    let files: BTreeSet<String> = all
        .iter()
        .filter_map(|axis| match &axis.node.get("file")?.value {
            Value::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect();
    files.into_iter().collect()
}

fn check(root: &Node, source: &Source<'_>, report: &mut Report) -> Option<Spec> {
    let fields = Fields::of(root, "", &KEYS, report)?;
    let here = root.place("");
    for (key, wanted) in [("apiVersion", "croft/v1"), ("kind", "Job")] {
        match fields.get("", key) {
            None => report.add(&here, format!("'{key}' is missing"), format!("write '{key}: {wanted}'")),
            Some(found) => {
                if let Some(text) = found.text(report).filter(|text| *text != wanted) {
                    report.add(
                        &found.place,
                        format!("is {}, must be {wanted}", quoted(text)),
                        format!("write '{key}: {wanted}'"),
                    );
                }
            }
        }
    }
    let name = match fields.get("", "name") {
        Some(found) => policy::name(&found, report),
        None => {
            report.add(&here, "'name' is missing", "name the job, as in 'name: spring-launch'");
            None
        }
    };
    let show = match fields.get("", "show") {
        Some(found) => policy::name(&found, report),
        None => Some("default".to_owned()),
    };
    let priority = fields.get("", "priority").map_or(Some(50), |found| found.whole(0, 100, report));
    let labels = policy::labels(fields.get("", "labels"), report);
    let mut used = BTreeSet::new();
    let axes = axes::read(fields.get("", "axes"), source.files, &mut used, report);
    let matrix = matrix::read(fields.get("", "matrix"), &axes, &here, report);
    let layers = layer::read(fields.get("", "layers"), &axes, &here, report);
    let policy = policy::read(fields.get("", "policy"), &axes, report);
    let warnings = unused(&axes, &matrix, &layers, &policy, report);
    let files = files(source, &used, fields.get("", "axes"), report);
    let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
    let digest = digest::of(root, &names, &files);
    let source =
        Kept { name: source.name.to_owned(), text: source.text.to_owned(), files, set: source.set.to_vec() };
    let priority = u32::try_from(priority?).expect("0 to 100");
    Some(Spec {
        name: name?,
        show: show?,
        priority,
        labels,
        layers,
        axes,
        matrix,
        policy,
        warnings,
        source,
        digest,
    })
}

/// The files that axes name, as text.
fn files(
    source: &Source<'_>,
    used: &BTreeSet<String>,
    axes: Option<Found<'_>>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let place = axes.map(|found| found.place).unwrap_or_default();
    let here = || source.files.iter().filter(|(name, _)| used.contains(*name));
    let bytes: usize = here().map(|(_, bytes)| bytes.len()).sum();
    if bytes > FILES_BYTES_MAX {
        let message = format!("the files have {bytes} bytes, more than {FILES_BYTES_MAX}");
        report.add(&place, message, "leave out columns that no template uses, or split the job");
    }
    // Cells were read as text already, so this loses nothing of a good file.
    here().map(|(name, bytes)| (name.clone(), String::from_utf8_lossy(bytes).into_owned())).collect()
}

/// Axes outside of `combine` have no value: to name one is a problem, to leave one lie a warning.
fn unused(
    axes: &[Axis],
    matrix: &Matrix,
    layers: &[Layer],
    policy: &Policy,
    report: &mut Report,
) -> Vec<String> {
    let mut combined = BTreeSet::new();
    if let Some(expr) = &matrix.combine {
        expr.axes_into(&mut combined);
    }
    let remedy = "add it, or leave the axis out here";
    for layer in layers {
        for template in layer.templates() {
            for axis in template.axes().filter(|axis| !combined.contains(axis)) {
                let message = format!("axis '{}' is not in matrix.combine", axes[axis].name);
                report.add(&template.place, message, remedy);
            }
        }
    }
    for exclude in &matrix.exclude {
        for (axis, _) in exclude.tests.iter().filter(|(axis, _)| !combined.contains(axis)) {
            let message = format!("axis '{}' is not in matrix.combine", axes[*axis].name);
            report.add(&exclude.place, message, remedy);
        }
    }
    if let policy::Order::Interleave(axis) = policy.order
        && !combined.contains(&axis)
    {
        let message = format!("policy.order: axis '{}' is not in matrix.combine", axes[axis].name);
        report.add(&matrix.place, message, remedy);
    }
    let idle = axes.iter().enumerate().filter(|(at, _)| !combined.contains(at));
    idle.map(|(_, axis)| format!("axis '{}' is defined but not in matrix.combine", axis.name)).collect()
}

impl Layer {
    /// All its templates.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let preview = match &self.preview {
            Preview::At(template) => Some(template),
            Preview::No | Preview::Beside => None,
        };
        [&self.prompt, &self.negative_prompt]
            .into_iter()
            .chain(self.params.iter().map(|param| &param.value))
            .chain(self.seed.as_ref())
            .chain(self.output.as_ref())
            .chain(preview)
    }
}
