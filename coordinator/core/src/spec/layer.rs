//! Layers: what is made for every combination of the axes, and after what.

use super::{
    axes::Axis,
    read::{Fields, Found, entries},
    report::{Place, Report, did_you_mean, quoted},
    resources::{self, Resources},
    template::Template,
    tree::{Entry, Node, Value, join},
};
use crate::ids::JobId;

pub(crate) const LAYERS_MAX: usize = 32;
const MODEL_BYTES_MAX: usize = 4096;

/// Keys of a layer.
pub(crate) const KEYS: [&str; 12] = [
    "name",
    "model",
    "after",
    "prompt",
    "negative_prompt",
    "params",
    "seed",
    "resources",
    "dtype",
    "output",
    "preview",
    "png",
];
/// What a layer that leaves it out takes from the layer it comes after.
const INHERITED: [&str; 8] =
    ["model", "prompt", "negative_prompt", "seed", "resources", "dtype", "preview", "png"];

/// One layer, checked as far as it can be without its model's card.
#[derive(Debug, Clone)]
pub struct Layer {
    pub name: String,
    /// A registered name, a directory, `builtin://…` or `store://…`.
    pub model: String,
    /// The layer before it, by number.
    pub after: Option<u32>,
    /// `auto`, `f32` or `bf16`.
    pub dtype: String,
    /// Bits of a channel in PNG files: 8 or 16.
    pub png_bits: u8,
    pub resources: Resources,
    pub(crate) model_place: Place,
    pub(crate) prompt: Template,
    pub(crate) negative_prompt: Template,
    pub(crate) params: Vec<Param>,
    /// Of a `seed:` key; else an axis `seed` or a hash gives it.
    pub(crate) seed: Option<Template>,
    pub(crate) output: Option<Template>,
    pub(crate) preview: Preview,
}

#[derive(Debug, Clone)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) value: Template,
}

#[derive(Debug, Clone)]
pub(crate) enum Preview {
    No,
    /// Beside the frames' folder.
    Beside,
    At(Template),
}

/// Reads all layers.
pub(crate) fn read(found: Option<Found<'_>>, axes: &[Axis], root: &Place, report: &mut Report) -> Vec<Layer> {
    let Some(found) = found else {
        report.add(root, "there are no layers", "add 'layers:' with a name, a model and a prompt");
        return Vec::new();
    };
    let Some(nodes) = found.list(report) else { return Vec::new() };
    if nodes.is_empty() || nodes.len() > LAYERS_MAX {
        let message = format!("{} layers; 1 to {LAYERS_MAX} can be", nodes.len());
        report.add(&found.place, message, "split the job, or add a layer");
        return Vec::new();
    }
    let raw: Vec<Raw<'_>> =
        nodes.iter().enumerate().filter_map(|(at, node)| Raw::of(node, at, report)).collect();
    if raw.len() < nodes.len() {
        return Vec::new();
    }
    let after = order(&raw, report);
    let layers: Vec<_> =
        (0..raw.len()).map(|at| Reader { raw: &raw, after: &after, axes, at }.layer(report)).collect();
    layers.into_iter().collect::<Option<_>>().unwrap_or_default()
}

struct Raw<'a> {
    node: &'a Node,
    fields: Fields<'a>,
    field: String,
    name: Option<&'a str>,
    after: Option<Found<'a>>,
}

impl<'a> Raw<'a> {
    fn of(node: &'a Node, at: usize, report: &mut Report) -> Option<Self> {
        let field = format!("layers[{at}]");
        let fields = Fields::of(node, &field, &KEYS, report)?;
        let name = match fields.get(&field, "name") {
            Some(name) => name.text(report).filter(|text| is_layer_name(text, &name.place, report)),
            None => {
                report.add(&node.place(&*field), "has no name", "name the layer, as in 'name: draft'");
                None
            }
        };
        let after = fields.get(&field, "after");
        Some(Self { node, fields, field, name, after })
    }
}

fn is_layer_name(text: &str, place: &Place, report: &mut Report) -> bool {
    let checked = JobId::new(text);
    if let Err(why) = &checked {
        report.add(place, why.to_string(), "layers are named as jobs are, as in 'draft'");
    }
    checked.is_ok()
}

/// By layer, which layer it comes after. Twice the same name, unknown ones and circles are problems.
fn order(raw: &[Raw<'_>], report: &mut Report) -> Vec<Option<usize>> {
    for (at, layer) in raw.iter().enumerate() {
        if let Some(name) = layer.name
            && raw[..at].iter().any(|other| other.name == Some(name))
        {
            let place = layer.node.place(join(&layer.field, "name"));
            report.add(
                &place,
                format!("a layer {} is there already", quoted(name)),
                "give each layer its own name",
            );
        }
    }
    let names = || raw.iter().filter_map(|layer| layer.name);
    let mut after: Vec<Option<usize>> = Vec::with_capacity(raw.len());
    for layer in raw {
        after.push(layer.after.as_ref().and_then(|found| {
            let name = found.text(report)?;
            let at = raw.iter().position(|other| other.name == Some(name));
            if at.is_none() {
                report.add(
                    &found.place,
                    format!("{} names no layer", quoted(name)),
                    did_you_mean(name, names()),
                );
            }
            at
        }));
    }
    for at in 0..raw.len() {
        // A walk longer than there are layers never ends.
        let mut steps = std::iter::successors(Some(at), |at| after[*at]);
        if steps.nth(raw.len()).is_some() {
            let place = raw[at].after.as_ref().map_or_else(Place::default, |found| found.place.clone());
            report.add(&place, "the layers wait for each other in a circle", "take one 'after' out");
            return vec![None; raw.len()];
        }
    }
    after
}

struct Reader<'a> {
    raw: &'a [Raw<'a>],
    after: &'a [Option<usize>],
    axes: &'a [Axis],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The layer and those it comes after, nearest first.
    fn line(&self) -> impl Iterator<Item = &'a Raw<'a>> + use<'a> {
        let (raw, after) = (self.raw, self.after);
        std::iter::successors(Some(self.at), move |at| after[*at]).map(move |at| &raw[at])
    }

    fn get(&self, key: &str) -> Option<Found<'a>> {
        let depth = if INHERITED.contains(&key) { usize::MAX } else { 1 };
        self.line().take(depth).find_map(|raw| raw.fields.get(&raw.field, key))
    }

    fn template(&self, key: &str, seed_ok: bool, report: &mut Report) -> Option<Option<Template>> {
        match self.get(key) {
            Some(found) => Template::read(&found, self.axes, seed_ok, report).map(Some),
            None => Some(None),
        }
    }

    /// All problems are told before the first makes this nothing.
    fn layer(&self, report: &mut Report) -> Option<Layer> {
        let raw = &self.raw[self.at];
        let here = raw.node.place(&*raw.field);
        let model = self.model(&here, report);
        let prompt = self.prompt(&here, report);
        let negative_prompt = self.template("negative_prompt", true, report);
        let (params, params_seed) = self.params(report);
        let seed = self.template("seed", false, report);
        let resources =
            self.get("resources").map(|found| resources::read(&found, report)).unwrap_or_default();
        let dtype = self.one_of("dtype", &["auto", "f32", "bf16"], "auto", report);
        let png = self.one_of("png", &["8", "16"], "8", report);
        let output = self.template("output", true, report);
        let preview = self.preview(report);
        let (model, model_place) = model?;
        Some(Layer {
            name: raw.name?.to_owned(),
            model,
            after: self.after[self.at].map(|at| u32::try_from(at).expect("LAYERS_MAX")),
            dtype,
            png_bits: if png == "16" { 16 } else { 8 },
            resources,
            model_place,
            prompt: prompt?,
            negative_prompt: negative_prompt?.unwrap_or_else(|| Template::made(Vec::new(), here)),
            params,
            seed: seed?.or(params_seed),
            output: output?,
            preview: preview?,
        })
    }

    fn model(&self, here: &Place, report: &mut Report) -> Option<(String, Place)> {
        let Some(found) = self.get("model") else {
            report.add(here, "has no model", "name one, as in 'model: builtin://shapes'");
            return None;
        };
        let text = found.text(report)?;
        if text.is_empty() || text.len() > MODEL_BYTES_MAX || text.contains(char::is_control) {
            let message = format!("{} cannot be a model", quoted(text));
            report.add(&found.place, message, "give a registered name or a directory");
            return None;
        }
        Some((text.to_owned(), found.place))
    }

    fn prompt(&self, here: &Place, report: &mut Report) -> Option<Template> {
        if self.get("prompt").is_none() {
            report.add(here, "has no prompt", "say what it shows, as in 'prompt: \"{product.text}\"'");
        }
        self.template("prompt", true, report)?
    }

    /// Parameters, those of the layer over those of the layers before it; and the seed, when it stands among them.
    fn params(&self, report: &mut Report) -> (Vec<Param>, Option<Template>) {
        let mut params: Vec<Param> = Vec::new();
        let mut seed = None;
        for raw in self.line() {
            let Some(found) = raw.fields.get(&raw.field, "params") else { continue };
            let Some(all) = entries(found.node, &found.place.field, report) else { continue };
            for Entry { key, node, .. } in all {
                if matches!(node.value, Value::Null) || params.iter().any(|param| param.name == *key) {
                    continue;
                }
                let found = Found { node, place: node.place(join(&found.place.field, key)) };
                let Some(value) = Template::read(&found, self.axes, key != "seed", report) else { continue };
                if key == "seed" {
                    seed = seed.or(Some(value));
                } else {
                    params.push(Param { name: key.clone(), value });
                }
            }
        }
        params.sort_by(|a, b| a.name.cmp(&b.name));
        (params, seed)
    }

    fn one_of(&self, key: &str, known: &[&str], default: &str, report: &mut Report) -> String {
        let Some(found) = self.get(key) else { return default.to_owned() };
        let Some(text) = found.text(report) else { return default.to_owned() };
        if !known.contains(&text) {
            let message = format!("{} is none of {}", quoted(text), known.join(", "));
            report.add(&found.place, message, did_you_mean(text, known.iter().copied()));
        }
        text.to_owned()
    }

    fn preview(&self, report: &mut Report) -> Option<Preview> {
        let Some(found) = self.get("preview") else { return Some(Preview::Beside) };
        match found.text(report)? {
            "true" => Some(Preview::Beside),
            "false" => Some(Preview::No),
            _ => Template::read(&found, self.axes, true, report).map(Preview::At),
        }
    }
}
