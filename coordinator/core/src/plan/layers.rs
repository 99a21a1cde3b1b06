//! A layer with its model's card: parameters by their rules, seeds, and how prompts and names are filled.

use std::{cell::RefCell, collections::BTreeMap};

use sha2::{Digest as _, Sha256};

use super::{
    Expansion,
    rules::{self, Refused},
};
use crate::{
    model_card::{ModelCard, ParamKind, ParamValue, Params},
    spec::{
        self, Layer, Param,
        axes::Axis,
        report::{Report, did_you_mean, quoted},
        template::{Filling, Piece, Template},
    },
    split::{Seating, Shot, larger},
};

/// One layer of a plan.
#[derive(Debug, Clone)]
pub struct LayerPlan {
    pub name: String,
    /// Its model, frozen at submission.
    pub card: ModelCard,
    pub tasks: u32,
    /// The layer it waits for, by number.
    pub after: Option<u32>,
    /// Every parameter with its resolved value; one that follows axes stands as its template.
    pub params: Params,
    /// What its largest task asks for, as far as memory depends on it; `None` where the model has no frames and sizes.
    pub shot: Option<Shot>,
    pub(crate) varying: Vec<(String, ParamKind, Template)>,
    pub(crate) seed: Seed,
    pub(crate) spec: Layer,
}

#[derive(Debug, Clone)]
pub(crate) enum Seed {
    Template(Template),
    Axis(usize),
    /// A stable hash of the job's name and the task's axes.
    Hash,
}

/// What every layer of a plan has in common, for filling templates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) axes: &'a [Axis],
    pub(crate) expansion: &'a Expansion,
    pub(crate) name: &'a str,
    pub(crate) show: &'a str,
    /// By axis and value, the first task that has it; of axes outside of the combination, nothing.
    pub(crate) first: &'a [Vec<Option<u32>>],
}

impl Ground<'_> {
    /// The axes that are combined, as they were written.
    pub(crate) fn combined(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.axes.len()).filter(|axis| !self.first[*axis].is_empty())
    }
}

/// Parameters that the field's tools know by other names.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("num_inference_steps", "write 'steps'"),
    ("guidance_scale", "write 'guidance'"),
    ("cfg", "write 'guidance'"),
    ("width", "write 'size: WIDTHxHEIGHT'"),
    ("height", "write 'size: WIDTHxHEIGHT'"),
    ("frame_rate", "write 'fps'"),
    ("frames", "write 'num_frames'"),
    ("prompt", "it stands beside params, not in them"),
    ("negative_prompt", "it stands beside params, not in them"),
];

/// Bytes of the longest text that a template may become: a few short lines name a cell of megabytes hundreds of times.
const FILLED_BYTES_MAX: usize = 64 << 10;
/// Digits of a seed; zeros may stand before it.
const SEED_BYTES_MAX: usize = 20;
/// Of a value in a task's label, the characters shown.
const LABEL_CHARS_MAX: usize = 60;

impl LayerPlan {
    /// Everything about the layer but the names of its outputs; nothing where a text would be too long to be looked at.
    pub(crate) fn new(
        layer: &Layer,
        card: &ModelCard,
        ground: &Ground<'_>,
        report: &mut Report,
    ) -> Option<Self> {
        if !are_short(layer, ground, report) {
            return None;
        }
        let mut plan = Self {
            name: layer.name.clone(),
            card: card.clone(),
            tasks: ground.expansion.tasks(),
            after: layer.after,
            params: Params::new(),
            shot: None,
            varying: Vec::new(),
            seed: seed(layer, ground),
            spec: layer.clone(),
        };
        for (name, rule) in &card.params {
            if let Some(default) = &rule.default {
                plan.params.insert(name.clone(), default.clone());
            }
        }
        plan.check_seed(ground, report);
        plan.check_ranks(report);
        let mut largest = plan.params.clone();
        for param in &layer.params {
            if let Some(value) = plan.param(param, ground, report) {
                largest.insert(param.name.clone(), value);
            }
        }
        plan.shot = Shot::of(&largest);
        for (name, template) in [("prompt", &layer.prompt), ("negative_prompt", &layer.negative_prompt)] {
            plan.check_length(name, template, ground, report);
        }
        Some(plan)
    }

    /// Over how many devices its spec wants a task to be rendered, where it says so.
    #[must_use]
    pub fn seating(&self) -> Option<Seating> {
        self.spec.resources.seating()
    }

    /// Gives the value with which a task needs most.
    fn param(&mut self, param: &Param, ground: &Ground<'_>, report: &mut Report) -> Option<ParamValue> {
        let Param { name, value } = param;
        let Some(rule) = self.card.params.get(name) else {
            let other = OTHER_NAMES.iter().find(|(other, _)| other == name);
            let known = || self.card.params.keys().map(String::as_str);
            let remedy = match other {
                Some((_, remedy)) => (*remedy).to_owned(),
                None if self.card.params.is_empty() => "leave it out".to_owned(),
                None => did_you_mean(name, known().collect::<Vec<_>>()),
            };
            let message = format!("model {} has no parameter {}", quoted(&self.card.name), quoted(name));
            report.add(&value.place, message, remedy);
            return None;
        };
        if let Some(text) = value.constant() {
            return match rules::read(&rule.kind, text) {
                Ok(value) => {
                    self.params.insert(name.clone(), value.clone());
                    Some(value)
                }
                Err(refused) => {
                    report.add(&value.place, refused.message, refused.remedy);
                    None
                }
            };
        }
        let kind = rule.kind.clone();
        let largest = RefCell::new(None);
        let read = |text: &str| match rules::read(&kind, text) {
            Ok(value) => {
                let most = match largest.take() {
                    Some(before) => larger(before, value),
                    None => value,
                };
                largest.replace(Some(most));
                None
            }
            Err(refused) => Some(refused),
        };
        for refused in self.each(value, ground, read) {
            report.add(&value.place, refused.message, refused.remedy);
        }
        self.params.insert(name.clone(), ParamValue::Text(value.source.clone()));
        self.varying.push((name.clone(), kind, value.clone()));
        largest.into_inner()
    }

    fn check_ranks(&self, report: &mut Report) {
        let Some(Seating { ranks, mode }) = self.spec.resources.seating() else { return };
        let max = self.card.ranks_max_by(mode);
        if ranks > max {
            let message = format!(
                "{ranks} ranks for one task, and {} takes {max} at most by {}",
                quoted(&self.card.name),
                mode.name()
            );
            report.add(&self.spec.model_place, message, format!("write 'ranks: {max}' or 'ranks: auto'"));
        }
    }

    fn check_seed(&self, ground: &Ground<'_>, report: &mut Report) {
        let Seed::Template(template) = &self.seed else { return };
        let found = self.each(template, ground, |text| {
            let remedy = "seeds are whole numbers from 0 on".to_owned();
            let refused = || Refused { message: format!("{} is no seed", quoted(text)), remedy };
            (text.len() > SEED_BYTES_MAX || text.parse::<u64>().is_err()).then(refused)
        });
        for refused in found {
            report.add(&template.place, refused.message, refused.remedy);
        }
    }

    /// Bounded by the longest values first; only when that is too long, task by task.
    fn check_length(&self, what: &str, template: &Template, ground: &Ground<'_>, report: &mut Report) {
        let max = self.card.prompt_bytes_max;
        if longest(template, ground) <= max {
            return;
        }
        let found = self.each(template, ground, |text| {
            let message = || format!("the {what} has {} bytes, more than the {max} of its model", text.len());
            (text.len() > max).then(|| Refused { message: message(), remedy: "shorten it".to_owned() })
        });
        if let Some(Refused { message, remedy }) = found.into_iter().next() {
            report.add(&template.place, message, remedy);
        }
    }

    /// Looks at every text that a template can become, at some more than once; gives a few of those refused.
    fn each(
        &self,
        template: &Template,
        ground: &Ground<'_>,
        look: impl Fn(&str) -> Option<Refused>,
    ) -> Vec<Refused> {
        const FOUND_MAX: usize = 5;
        let mut axes: Vec<usize> = template.axes().collect();
        axes.dedup();
        let tasks: Box<dyn Iterator<Item = u32> + '_> = match axes.as_slice() {
            _ if template.is_by_task() => Box::new(0..self.tasks),
            [] => Box::new(0..self.tasks.min(1)),
            [axis] => Box::new(ground.first[*axis].iter().filter_map(|first| *first)),
            _ => Box::new(0..self.tasks),
        };
        let mut picks = vec![0; ground.axes.len()];
        let mut found = Vec::new();
        let mut text = String::new();
        for task in tasks {
            ground.expansion.picks_into(task, &mut picks);
            text.clear();
            template.fill_into(&self.filling(ground, &picks, task), &mut text);
            if let Some(Refused { message, remedy }) = look(&text) {
                let label = label(ground, &picks);
                let message = if label.is_empty() { message } else { format!("{message} ({label})") };
                found.push(Refused { message, remedy });
            }
            if found.len() >= FOUND_MAX {
                break;
            }
        }
        found
    }

    pub(crate) fn filling<'a>(&'a self, ground: &Ground<'a>, picks: &'a [u32], task: u32) -> Filling<'a> {
        let mut with = Filling {
            axes: ground.axes,
            picks,
            show: ground.show,
            job: ground.name,
            layer: &self.name,
            task,
            seed: 0,
        };
        with.seed = match &self.seed {
            Seed::Axis(axis) => ground.axes[*axis].text(picks[*axis]).parse().expect("seeds were checked"),
            // While they are being checked, a wrong one counts as 0.
            Seed::Template(template) => template.fill(&with).parse().unwrap_or(0),
            Seed::Hash if self.names_seed() => hashed(ground, picks),
            Seed::Hash => 0,
        };
        with
    }

    /// Whether a template writes the seed, so that a hash is worth its while.
    fn names_seed(&self) -> bool {
        self.spec.templates().any(|template| template.pieces.contains(&Piece::Seed))
    }

    pub(crate) fn seed(&self, with: &Filling<'_>, ground: &Ground<'_>) -> u64 {
        match self.seed {
            Seed::Hash => hashed(ground, with.picks),
            Seed::Axis(_) | Seed::Template(_) => with.seed,
        }
    }

    /// Resolved parameters of one task.
    pub(crate) fn resolve(&self, with: &Filling<'_>) -> Params {
        let mut params = self.params.clone();
        for (name, kind, template) in &self.varying {
            let value =
                rules::read(kind, &template.fill(with)).expect("every value was checked when planned");
            params.insert(name.clone(), value);
        }
        params
    }
}

fn seed(layer: &Layer, ground: &Ground<'_>) -> Seed {
    let axis = ground.combined().find(|axis| ground.axes[*axis].name == "seed");
    match (&layer.seed, axis) {
        (Some(template), _) => Seed::Template(template.clone()),
        (None, Some(axis)) => Seed::Axis(axis),
        (None, None) => Seed::Hash,
    }
}

/// The first 32 bits of sha256 over the job's name and the task's axes: a retry, another place or another layer makes
/// no difference.
fn hashed(ground: &Ground<'_>, picks: &[u32]) -> u64 {
    let mut key = String::new();
    spec::json_string(ground.name, &mut key);
    for axis in ground.combined() {
        spec::json_string(&ground.axes[axis].name, &mut key);
        spec::json_string(&ground.axes[axis].text(picks[axis]), &mut key);
    }
    let digest = Sha256::digest(key);
    u64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// `scene=alley seed=4103`
pub(crate) fn label(ground: &Ground<'_>, picks: &[u32]) -> String {
    let word = |axis: usize| {
        let text = ground.axes[axis].text(picks[axis]);
        let more = if text.chars().nth(LABEL_CHARS_MAX).is_some() { "…" } else { "" };
        let shown: String = text.chars().take(LABEL_CHARS_MAX).collect();
        format!("{}={shown}{more}", ground.axes[axis].name)
    };
    ground.combined().map(word).collect::<Vec<_>>().join(" ")
}

/// Whether all that the layer's templates can become is short enough to be made, task by task.
fn are_short(layer: &Layer, ground: &Ground<'_>, report: &mut Report) -> bool {
    let mut all = true;
    for template in layer.templates() {
        let bytes = longest(template, ground);
        if bytes > FILLED_BYTES_MAX {
            let message = format!("can become {bytes} bytes long, more than {FILLED_BYTES_MAX}");
            report.add(&template.place, message, "name shorter values, or fewer");
            all = false;
        }
    }
    all
}

/// Bytes of the longest text that a template can become, or more.
fn longest(template: &Template, ground: &Ground<'_>) -> usize {
    const NUMBER_BYTES_MAX: usize = 20;
    // A template may name an axis often; its values are many.
    let mut known = BTreeMap::new();
    let mut longest_of = |axis: usize, column: Option<usize>| {
        let axes = ground.axes;
        let bytes = |value: u32| match column {
            Some(column) => axes[axis].cell(value, column).len(),
            None => axes[axis].text(value).len(),
        };
        *known.entry((axis, column)).or_insert_with(|| {
            let used = ground.first[axis].iter().enumerate().filter(|(_, first)| first.is_some());
            used.map(|(value, _)| bytes(u32::try_from(value).expect("TASKS_MAX"))).max().unwrap_or(0)
        })
    };
    let bytes = template.pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::Axis(axis) => longest_of(*axis, None),
        Piece::Column(axis, column) => longest_of(*axis, Some(*column)),
        // A job may get a longer name than the spec's, up to this.
        Piece::Show | Piece::Job | Piece::Layer => crate::ids::NAME_CHARS_MAX,
        Piece::Task | Piece::Seed => NUMBER_BYTES_MAX,
    });
    bytes.sum()
}
