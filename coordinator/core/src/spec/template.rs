//! Text with places for axes: `{product.text}, take {seed}`. `{{` and `}}` stand for the braces themselves.

use std::fmt::Write as _;

use super::{
    axes::Axis,
    read::Found,
    report::{Place, Report, did_you_mean, quoted},
};

/// Pieces of one template: each is filled for every task.
const PIECES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
    /// As it was written.
    pub(crate) source: String,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Axis(usize),
    /// Of an axis, a column.
    Column(usize, usize),
    Show,
    Job,
    Layer,
    /// The task's number in its layer, counted from 1, as 0001.
    Task,
    Seed,
}

/// What a template is filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) axes: &'a [Axis],
    /// By axis, the number of its value.
    pub(crate) picks: &'a [u32],
    pub(crate) show: &'a str,
    pub(crate) job: &'a str,
    pub(crate) layer: &'a str,
    pub(crate) task: u32,
    pub(crate) seed: u64,
}

impl Template {
    /// A template that stands nowhere in the text. No braces but those of the pieces.
    pub(crate) fn made(pieces: Vec<Piece>, place: Place) -> Self {
        Self { pieces, source: String::new(), place }
    }

    /// Reads a template. Unknown places are problems; `seed_ok` is false where `{seed}` would lead in a circle.
    pub(crate) fn read(found: &Found<'_>, axes: &[Axis], seed_ok: bool, report: &mut Report) -> Option<Self> {
        let source = found.text(report)?;
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        let mut is_good = true;
        while let Some(brace) = rest.find(['{', '}']) {
            let offset = source.len() - rest.len() + brace;
            if pieces.len() > PIECES_MAX || report.is_full() {
                break;
            }
            text.push_str(&rest[..brace]);
            let is_open = rest.as_bytes()[brace] == b'{';
            let after = &rest[brace + 1..];
            if after.starts_with(if is_open { '{' } else { '}' }) {
                text.push(if is_open { '{' } else { '}' });
                rest = &after[1..];
                continue;
            }
            let end = after.find(['{', '}']).filter(|end| is_open && after.as_bytes()[*end] == b'}');
            let Some(end) = end else {
                let brace = if is_open { '{' } else { '}' };
                let message = format!("'{brace}' stands alone");
                report.add(
                    &found.inside(offset),
                    message,
                    format!("write '{{axis}}' for a value, '{brace}{brace}' for a brace"),
                );
                return None;
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            match piece(&after[..end], axes, seed_ok) {
                Ok(piece) => pieces.push(piece),
                Err((message, remedy)) => {
                    report.add(&found.inside(offset), message, remedy);
                    is_good = false;
                }
            }
            rest = &after[end + 1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if pieces.len() > PIECES_MAX {
            let message = format!("a template of more than {PIECES_MAX} pieces");
            report.add(&found.place, message, "give the axis a column that holds the text");
            return None;
        }
        is_good.then(|| Self { pieces, source: source.to_owned(), place: found.place.clone() })
    }

    /// The text itself, when nothing in it varies.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Which axes it names.
    pub(crate) fn axes(&self) -> impl Iterator<Item = usize> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Axis(axis) | Piece::Column(axis, _) => Some(*axis),
            _ => None,
        })
    }

    /// Whether anything but axes varies in it.
    pub(crate) fn is_by_task(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Task | Piece::Seed))
    }

    pub(crate) fn fill(&self, with: &Filling<'_>) -> String {
        let mut text = String::new();
        self.fill_into(with, &mut text);
        text
    }

    pub(crate) fn fill_into(&self, with: &Filling<'_>, text: &mut String) {
        for piece in &self.pieces {
            piece.fill_into(with, text);
        }
    }
}

impl Piece {
    pub(crate) fn fill_into(&self, with: &Filling<'_>, text: &mut String) {
        let written = match self {
            Self::Text(literal) => text.write_str(literal),
            Self::Axis(axis) => text.write_str(&with.axes[*axis].text(with.picks[*axis])),
            Self::Column(axis, column) => text.write_str(with.axes[*axis].cell(with.picks[*axis], *column)),
            Self::Show => text.write_str(with.show),
            Self::Job => text.write_str(with.job),
            Self::Layer => text.write_str(with.layer),
            Self::Task => write!(text, "{:04}", with.task + 1),
            Self::Seed => write!(text, "{}", with.seed),
        };
        written.expect("a String takes any text");
    }
}

/// The piece that a placeholder stands for; otherwise what is wrong with it and what to do.
fn piece(name: &str, axes: &[Axis], seed_ok: bool) -> Result<Piece, (String, String)> {
    let name = name.trim();
    match name {
        "show" => return Ok(Piece::Show),
        "job" => return Ok(Piece::Job),
        "layer" => return Ok(Piece::Layer),
        "task" => return Ok(Piece::Task),
        "frame" => {
            let remedy = "leave it out: frames are numbered in the folder that the output names";
            return Err(("'{frame}' is not for templates".to_owned(), remedy.to_owned()));
        }
        _ => {}
    }
    let (axis, column) = name.split_once('.').map_or((name, None), |(axis, column)| (axis, Some(column)));
    let Some(number) = axes.iter().position(|known| known.name == axis) else {
        if name == "seed" {
            let remedy = "name the axis that the seed follows".to_owned();
            return if seed_ok {
                Ok(Piece::Seed)
            } else {
                Err(("the seed cannot follow itself".to_owned(), remedy))
            };
        }
        let known = ["show", "job", "layer", "task", "seed"].into_iter();
        let known = axes.iter().map(|axis| axis.name.as_str()).chain(known);
        return Err((
            format!("{{{}}} names no axis", quoted(axis).trim_matches('\'')),
            did_you_mean(axis, known),
        ));
    };
    let Some(column) = column else { return Ok(Piece::Axis(number)) };
    let columns = axes[number].columns();
    match columns.iter().position(|known| known == column) {
        Some(found) => Ok(Piece::Column(number, found)),
        None if axes[number].is_broken() => Ok(Piece::Axis(number)),
        None if columns.is_empty() => {
            let message = format!("axis '{axis}' has plain values, no columns");
            Err((message, format!("write '{{{axis}}}', or give its values as maps with an id")))
        }
        None => {
            let remedy = did_you_mean(column, columns.iter().map(String::as_str));
            Err((format!("axis '{axis}' has no column {}", quoted(column)), remedy))
        }
    }
}
