//! What a layer asks of the devices that render it.

use super::{
    read::{Fields, Found},
    report::{Report, did_you_mean, quoted},
};
use crate::{
    ids::JobId,
    split::{Mode, Seating, Wish},
};

/// Ranks that one task may be split over, at most.
const RANKS_MAX: u32 = 64;
const NAMES_MAX: usize = 16;

/// Devices that render one task together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ranks {
    /// One, wherever one holds the model without streaming it; else as the farm chooses.
    #[default]
    Unsaid,
    /// As the farm chooses, from devices that would stand idle as well.
    Auto,
    Number(u32),
}

/// Where a layer's tasks may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    pub ranks: Ranks,
    /// How they share the model, where the spec says.
    pub mode: Option<Mode>,
    /// All of them on one worker.
    pub same_worker: bool,
    /// Tags that a worker must have, each of them.
    pub tags: Vec<String>,
    /// Counted things (licences, say) of which a running task holds one each.
    pub limits: Vec<String>,
}

impl Resources {
    /// What the spec leaves no choice of.
    #[must_use]
    pub fn seating(&self) -> Option<Seating> {
        match self.ranks {
            Ranks::Number(ranks) => Some(Seating { ranks, mode: self.mode.unwrap_or_default() }),
            Ranks::Unsaid | Ranks::Auto => None,
        }
    }

    #[must_use]
    pub fn wish(&self) -> Wish {
        let ranks = self.seating().map(|seating| seating.ranks);
        let mode = if ranks.is_some() { Some(self.mode.unwrap_or_default()) } else { self.mode };
        Wish { mode, ranks, hurries: self.ranks == Ranks::Auto, same_host: self.same_worker }
    }
}

/// The words for a tag: OpenCue's and Deadline's stand for ours.
const TAG_WORDS: [&str; 4] = ["tags", "allocation", "pool", "group"];
const KEYS: [&str; 8] = ["ranks", "split", "topology", "tags", "allocation", "pool", "group", "limits"];

pub(super) fn read(found: &Found<'_>, report: &mut Report) -> Resources {
    let mut resources = Resources::default();
    let field = &found.place.field;
    let Some(fields) = Fields::of(found.node, field, &KEYS, report) else { return resources };
    if let Some(ranks) = fields.get(field, "ranks")
        && let Some(text) = ranks.text(report)
    {
        if text == "auto" {
            resources.ranks = Ranks::Auto;
        } else if let Some(number) = ranks.whole(1, i64::from(RANKS_MAX), report) {
            resources.ranks = Ranks::Number(u32::try_from(number).expect("1 to RANKS_MAX"));
        }
    }
    if let Some(split) = fields.get(field, "split")
        && let Some(text) = split.text(report)
    {
        match Mode::ALL.into_iter().find(|mode| mode.name() == text) {
            Some(mode) => resources.mode = Some(mode),
            None => report.add(
                &split.place,
                format!("{} is no way to split a model", quoted(text)),
                did_you_mean(text, Mode::ALL.map(Mode::name)),
            ),
        }
    }
    if let Some(topology) = fields.get(field, "topology")
        && let Some(text) = topology.text(report)
    {
        match text {
            "any" => {}
            "same_worker" => resources.same_worker = true,
            other => report.add(
                &topology.place,
                format!("{} is no topology", quoted(other)),
                did_you_mean(other, ["any", "same_worker"]),
            ),
        }
    }
    for word in TAG_WORDS {
        if let Some(tags) = fields.get(field, word) {
            resources.tags.extend(names(&tags, report));
        }
    }
    resources.tags.sort();
    resources.tags.dedup();
    if let Some(limits) = fields.get(field, "limits") {
        resources.limits = names(&limits, report);
        resources.limits.sort();
        resources.limits.dedup();
    }
    resources
}

/// One name, or a list of them.
fn names(found: &Found<'_>, report: &mut Report) -> Vec<String> {
    let nodes = match &found.node.value {
        super::tree::Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(found.node),
    };
    if nodes.len() > NAMES_MAX {
        report.add(
            &found.place,
            format!("{} names, more than {NAMES_MAX}", nodes.len()),
            "keep the needed ones",
        );
        return Vec::new();
    }
    let mut names = Vec::new();
    for node in nodes {
        let one = Found { node, place: node.place(found.place.field.clone()) };
        let Some(text) = one.text(report) else { continue };
        if JobId::new(text).is_ok() {
            names.push(text.to_owned());
        } else {
            let remedy = "use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit";
            report.add(&one.place, format!("{} cannot be a name", quoted(text)), remedy);
        }
    }
    names
}
