//! What each task's files are called, and that no two tasks write one file.
//!
//! A clip's output names a folder: `clips/tote_7` has its frames at `clips/tote_7/0001.png` …, its preview at
//! `clips/tote_7.mp4`, its sidecar at `clips/tote_7.json`. A still's output names its picture, with or without `.png`;
//! the sidecar lies beside it.

use std::hash::{DefaultHasher, Hasher as _};

use super::{
    layers::{Ground, LayerPlan, label},
    paths,
};
use crate::{
    model_card::Makes,
    spec::{
        Preview,
        report::{Place, Report, quoted},
        template::{Filling, Piece, Template},
    },
    step::Output,
};

/// Where the files of layers go that say nothing of it.
fn by_number(place: Place) -> Template {
    let slash = || Piece::Text("/".to_owned());
    Template::made(vec![Piece::Job, slash(), Piece::Layer, slash(), Piece::Task], place)
}

/// Checks every name of every task.
pub(crate) fn check(layers: &[LayerPlan], ground: &Ground<'_>, report: &mut Report) {
    let named = || layers.iter().enumerate().filter(|(_, layer)| layer.card.makes != Makes::Nothing);
    let mut is_good = true;
    for (_, layer) in named() {
        is_good &= check_values(layer, ground, report);
        if layer.card.makes == Makes::Still
            && let Preview::At(template) = &layer.spec.preview
        {
            report.add(&template.place, "a still has no preview", "leave it out");
            is_good = false;
        }
    }
    if !is_good {
        return;
    }
    let outputs = |layer: &LayerPlan, with: &Filling<'_>, text: &mut String| stem(layer, with, text);
    clashes(named().collect(), ground, "output", outputs, report);
    if layers.iter().any(|layer| matches!(layer.spec.preview, Preview::At(_))) {
        let clips =
            named().filter(|(_, l)| l.card.makes == Makes::Clip && !matches!(l.spec.preview, Preview::No));
        clashes(clips.collect(), ground, "preview", preview, report);
    }
}

/// A value in a name must not be a path itself: that is told of the value, once.
fn check_values(layer: &LayerPlan, ground: &Ground<'_>, report: &mut Report) -> bool {
    let preview = match &layer.spec.preview {
        Preview::At(template) => Some(template),
        Preview::No | Preview::Beside => None,
    };
    let mut is_good = true;
    for template in layer.spec.output.iter().chain(preview) {
        for piece in &template.pieces {
            let (axis, column) = match piece {
                Piece::Axis(axis) => (*axis, None),
                Piece::Column(axis, column) => (*axis, Some(*column)),
                _ => continue,
            };
            let values = ground.first[axis].iter().enumerate().filter(|(_, first)| first.is_some());
            for (value, _) in values {
                let value = u32::try_from(value).expect("TASKS_MAX");
                let axis = &ground.axes[axis];
                let text = column.map_or_else(|| axis.text(value), |column| axis.cell(value, column).into());
                if text.contains(['/', '\\']) || text.contains(char::is_control) {
                    let of = column.map_or(String::new(), |column| format!(".{}", axis.columns()[column]));
                    let message = format!(
                        "value {} of {{{}{of}}} would be a path of its own",
                        quoted(&text),
                        axis.name
                    );
                    report.add(
                        &template.place,
                        message,
                        "name the output by a value without '/', such as an id",
                    );
                    is_good = false;
                    break;
                }
            }
        }
    }
    is_good
}

/// Fills every name, checks it, and finds two that are the same, also where a file system does not tell capitals.
fn clashes(
    layers: Vec<(usize, &LayerPlan)>,
    ground: &Ground<'_>,
    what: &str,
    fill: impl Fn(&LayerPlan, &Filling<'_>, &mut String),
    report: &mut Report,
) {
    let mut seen: Vec<(u64, u32, u32)> = Vec::new();
    let mut picks = vec![0; ground.axes.len()];
    let mut text = String::new();
    for &(at, layer) in &layers {
        for task in 0..layer.tasks {
            ground.expansion.picks_into(task, &mut picks);
            text.clear();
            fill(layer, &layer.filling(ground, &picks, task), &mut text);
            if let Some((message, remedy)) = wrong(layer, what, &text) {
                let label = label(ground, &picks);
                let of = if label.is_empty() { String::new() } else { format!(" ({label})") };
                report.add(&place(layer, what), format!("{} {message}{of}", quoted(&text)), remedy);
                return;
            }
            text.make_ascii_lowercase();
            let mut hasher = DefaultHasher::new();
            hasher.write(text.as_bytes());
            seen.push((hasher.finish(), u32::try_from(at).expect("LAYERS_MAX"), task));
        }
    }
    seen.sort_unstable();
    let name = |(_, at, task): &(u64, u32, u32)| {
        let layer =
            layers.iter().find(|(number, _)| *number == *at as usize).expect("a layer of this list").1;
        let picks = ground.expansion.picks(*task);
        let mut text = String::new();
        fill(layer, &layer.filling(ground, &picks, *task), &mut text);
        (layer, text, label(ground, &picks))
    };
    let mut same: Vec<_> = seen.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    // The first clash in the order of tasks.
    same.sort_unstable_by_key(|pair| (pair[1].1, pair[1].2));
    for pair in same {
        let ((first, one, of_one), (second, other, of_other)) = (name(&pair[0]), name(&pair[1]));
        // Hashes may meet where names do not.
        if !one.eq_ignore_ascii_case(&other) {
            continue;
        }
        let both = |layer: &LayerPlan, of: &str| {
            let many = layers.len() > 1;
            match (many, of.is_empty()) {
                (true, false) => format!("{} {of}", layer.name),
                (true, true) => layer.name.clone(),
                (false, _) => of.to_owned(),
            }
        };
        let (one_task, other_task) = (both(first, &of_one), both(second, &of_other));
        let case = if one == other { "" } else { " but for capitals" };
        let message = format!("two tasks write {}{case}: ({one_task}) and ({other_task})", quoted(&one));
        report.add(&place(second, what), message, remedy(first, second, ground, &pair[0], &pair[1]));
        return;
    }
}

/// Which places would tell the two tasks apart.
fn remedy(
    first: &LayerPlan,
    second: &LayerPlan,
    ground: &Ground<'_>,
    one: &(u64, u32, u32),
    other: &(u64, u32, u32),
) -> String {
    if first.name != second.name {
        return "add {layer}, or give the layers outputs of their own".to_owned();
    }
    let (one, other) = (ground.expansion.picks(one.2), ground.expansion.picks(other.2));
    let differ: Vec<String> = ground
        .combined()
        .filter(|axis| one[*axis] != other[*axis])
        .map(|axis| format!("{{{}}}", ground.axes[axis].name))
        .collect();
    format!("add {}", differ.join(" or "))
}

fn place(layer: &LayerPlan, what: &str) -> Place {
    match (&layer.spec.preview, &layer.spec.output) {
        (Preview::At(template), _) if what == "preview" => template.place.clone(),
        (_, Some(template)) => template.place.clone(),
        _ => layer.spec.model_place.clone(),
    }
}

fn wrong(layer: &LayerPlan, what: &str, path: &str) -> Option<(String, String)> {
    if let Some(message) = paths::wrong(path) {
        return Some((message, "give a relative path such as '{product}/{seed}'".to_owned()));
    }
    if what == "preview" {
        let is_mp4 = paths::ending(path) == Some(".mp4");
        return (!is_mp4).then(|| ("does not end in .mp4".to_owned(), "previews are MP4 files".to_owned()));
    }
    match (layer.card.makes, paths::ending(path)?) {
        (Makes::Clip, ".mp4") => {
            let remedy =
                "leave '.mp4' out: frames lie in the folder of that name, the preview beside it as .mp4";
            Some(("names a movie, but a clip is a folder of frames".to_owned(), remedy.to_owned()))
        }
        (Makes::Clip, ".png") => {
            let remedy = "name a folder: its frames are 0001.png and on";
            Some(("names one picture, but a clip is a folder of frames".to_owned(), remedy.to_owned()))
        }
        (_, ending) => {
            let remedy = format!("leave '{ending}' out");
            Some((format!("ends in {ending}, which is written beside it"), remedy))
        }
    }
}

/// The output without `.png`: what the names of all its files begin with.
fn stem(layer: &LayerPlan, with: &Filling<'_>, text: &mut String) {
    match &layer.spec.output {
        Some(template) => template.fill_into(with, text),
        None => by_number(Place::default()).fill_into(with, text),
    }
    if layer.card.makes == Makes::Still && paths::ending(text) == Some(".png") {
        text.truncate(text.len() - ".png".len());
    }
}

fn preview(layer: &LayerPlan, with: &Filling<'_>, text: &mut String) {
    match &layer.spec.preview {
        Preview::No => {}
        Preview::At(template) => template.fill_into(with, text),
        Preview::Beside => {
            stem(layer, with, text);
            text.push_str(".mp4");
        }
    }
}

/// Where the files of one task go.
pub(crate) fn of(layer: &LayerPlan, with: &Filling<'_>) -> Output {
    let mut output = Output {
        makes: layer.card.makes,
        frames_dir: String::new(),
        still: String::new(),
        preview: String::new(),
        sidecar: String::new(),
        png_bits: layer.spec.png_bits,
    };
    let mut name = String::new();
    stem(layer, with, &mut name);
    match layer.card.makes {
        Makes::Nothing => return output,
        Makes::Still => output.still = format!("{name}.png"),
        Makes::Clip => {
            preview(layer, with, &mut output.preview);
            output.frames_dir.clone_from(&name);
        }
    }
    output.sidecar = name + ".json";
    output
}
