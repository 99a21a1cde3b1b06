//! The contact sheet of a job whose files lie in a folder: every task of it on a page, labelled by its axes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use croft_engine::codecs::{
    Picture,
    contact_sheet::{ContactSheet, Layout, strip_of},
    decode, png,
};
use croft_proto::v1::{Task, TaskState};

use crate::{client, json, progress::label};

/// Tasks on one page; more get a page each.
const CELLS_MAX: usize = 240;

/// Frames that stand for a clip: first, middle, last.
const STRIP: usize = 3;

/// Writes `contact-sheet.png` (and `contact-sheet-2.png` …) into `dir`; nothing for a job without pictures.
pub(crate) fn write(dir: &Path, title: &str, note: &str, tasks: &[Task]) -> anyhow::Result<Vec<PathBuf>> {
    if !tasks.iter().any(|task| !frames(dir, task).is_empty()) {
        return Ok(Vec::new());
    }
    let mut pages = Vec::new();
    for (number, cells) in (1..).zip(tasks.chunks(CELLS_MAX)) {
        let path = match number {
            1 => dir.join("contact-sheet.png"),
            _ => dir.join(format!("contact-sheet-{number}.png")),
        };
        let page = page(dir, title, note, cells)?;
        let bytes = png::encode_picture(&page).context("contact sheet")?;
        replace(&path, &bytes)?;
        pages.push(path);
    }
    Ok(pages)
}

fn page(dir: &Path, title: &str, note: &str, tasks: &[Task]) -> anyhow::Result<Picture> {
    let frames: Vec<Vec<PathBuf>> = tasks.iter().map(|task| frames(dir, task)).collect();
    let strip = if frames.iter().any(|frames| frames.len() > 1) { STRIP } else { 1 };
    let picture = frames
        .iter()
        .find_map(|frames| frames.first())
        .and_then(|path| read(path).ok())
        .map_or((1, 1), |p| (p.width, p.height));
    let columns = match (strip, tasks.len()) {
        (_, n @ 1..=2) => n,
        (1, n) => n.min(8),
        (_, 3..=8) => 2,
        (_, 9..=18) => 3,
        _ => 4,
    };
    let layout = Layout { title, note, cells: tasks.len(), columns, strip, picture };
    let mut sheet = ContactSheet::new(&layout).context("contact sheet")?;
    for (cell, (task, paths)) in tasks.iter().zip(&frames).enumerate() {
        // A file that is gone or broken leaves its place empty: the sheet shows what there is.
        let pictures: Vec<Picture> =
            strip_of(paths.len(), strip).into_iter().filter_map(|i| read(&paths[i]).ok()).collect();
        sheet.place(cell, &caption(task), &detail(task), &pictures);
    }
    Ok(sheet.into_picture())
}

/// The pictures that a task left below `dir`, in their order: a still's file, or those in a clip's folder.
fn frames(dir: &Path, task: &Task) -> Vec<PathBuf> {
    let at = dir.join(&task.output);
    if task.state() != TaskState::Succeeded || at.is_file() {
        return Some(at).filter(|at| at.is_file()).into_iter().collect();
    }
    let entries = fs::read_dir(&at).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut pictures: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "png")).collect();
    pictures.sort();
    pictures
}

fn caption(task: &Task) -> String {
    let label = label(task);
    if label.is_empty() { client::short(&task.name) } else { label }
}

fn detail(task: &Task) -> String {
    match (task.state(), &task.failure) {
        (TaskState::Succeeded, _) => format!("seed {}  {}", task.seed, client::short(&task.name)),
        (state, Some(failure)) => format!("{} {}", json::task_state(state), json::cause(failure.cause())),
        (state, None) => json::task_state(state).to_owned(),
    }
}

fn read(path: &Path) -> anyhow::Result<Picture> {
    Ok(decode::png(&fs::read(path)?)?.to_picture())
}

/// Nobody ever sees half a sheet.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("png.part");
    fs::write(&part, bytes).and_then(|()| fs::rename(&part, path)).with_context(|| path.display().to_string())
}
