//! `croft verify`: published files against the digests in their sidecars. Works offline, on any copy of the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use serde::Deserialize;
use serde_json::json as value;

use super::get::digest_file;
use crate::{
    args::{self, Format},
    exit::{Exit, Failed},
    output::{self, Table},
};

/// A sidecar is some kilobytes; what is larger is another file.
const SIDECAR_BYTES_MAX: u64 = 64 << 20;

/// Folders above a file in which its sidecar is looked for.
const LEVELS_MAX: usize = 16;

/// What of a sidecar is needed here.
#[derive(Debug, Deserialize)]
struct Sidecar {
    artifacts: Vec<File>,
}

/// One file that a sidecar vouches for.
#[derive(Debug, Deserialize)]
struct File {
    /// From the root of the store.
    path: String,
    digest: String,
}

/// What was found of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Ok,
    Missing,
    Differs,
}

pub(super) fn run(args: &args::Verify) -> Result<Exit, Failed> {
    let mut sidecars = BTreeMap::new();
    for path in &args.paths {
        find(path, &mut sidecars)?;
    }
    let mut findings = Vec::new();
    for (path, wanted) in &sidecars {
        check(path, wanted.as_ref(), &mut findings)?;
    }
    let bad = findings.iter().filter(|(_, f)| *f != Finding::Ok).count();
    if args.output.output == Format::Json {
        let items: Vec<_> = findings
            .iter()
            .map(|(p, f)| value!({ "path": p.display().to_string(), "state": word(*f) }))
            .collect();
        output::json("Verification", value!({ "sidecars": sidecars.len(), "files": items, "bad": bad }))?;
    } else {
        let mut table = Table::new(&["STATE", "FILE"]);
        for (path, finding) in findings.iter().filter(|(_, f)| *f != Finding::Ok) {
            table.row([word(*finding).to_owned(), path.display().to_string()]);
        }
        if bad > 0 {
            table.print()?;
        }
        output::line(&format!("{} files of {} sidecars checked, {bad} bad", findings.len(), sidecars.len()))?;
    }
    Ok(if bad == 0 { Exit::Ok } else { Exit::Failed })
}

/// Which sidecars to check, each for all of its files (`None`) or for some.
type Wanted = BTreeMap<PathBuf, Option<BTreeSet<PathBuf>>>;

fn find(path: &Path, wanted: &mut Wanted) -> Result<(), Failed> {
    let meta =
        fs::metadata(path).map_err(|e| Failed::with(Exit::NotFound, format!("{}: {e}", path.display())))?;
    if meta.is_dir() {
        let before = wanted.len();
        walk(path, wanted)?;
        if wanted.len() == before {
            return Err(Failed::with(Exit::NotFound, format!("{}: no sidecar in it", path.display()))
                .help("name the folder that a job published to"));
        }
        return Ok(());
    }
    if read(path)?.is_some() {
        wanted.insert(path.to_owned(), None);
        return Ok(());
    }
    let sidecar = sidecar_of(path)?.ok_or_else(|| {
        Failed::with(
            Exit::NotFound,
            format!("{}: no sidecar beside or above it names this file", path.display()),
        )
    })?;
    if let Some(files) = wanted.entry(sidecar).or_insert_with(|| Some(BTreeSet::new())) {
        files.insert(path.to_owned());
    }
    Ok(())
}

fn walk(folder: &Path, wanted: &mut Wanted) -> Result<(), Failed> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            let kind = entry.file_type().with_context(|| entry.path().display().to_string())?;
            if kind.is_dir() && !is_hidden {
                folders.push(entry.path());
            } else if kind.is_file() && read(&entry.path())?.is_some() {
                wanted.insert(entry.path(), None);
            }
        }
    }
    Ok(())
}

/// The sidecar at `path`, when it is one.
fn read(path: &Path) -> Result<Option<Sidecar>, Failed> {
    if path.extension().is_none_or(|e| e != "json") {
        return Ok(None);
    }
    let place = || path.display().to_string();
    if fs::metadata(path).with_context(place)?.len() > SIDECAR_BYTES_MAX {
        return Ok(None);
    }
    let bytes = fs::read(path).with_context(place)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn sidecar_of(file: &Path) -> Result<Option<PathBuf>, Failed> {
    let place = || file.display().to_string();
    let whole = fs::canonicalize(file).with_context(place)?;
    for folder in whole.ancestors().skip(1).take(LEVELS_MAX) {
        // A folder that may not be listed has nothing for us; those above it may.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Some(sidecar) = read(&entry.path())? else { continue };
            let root = root_of(&entry.path(), &sidecar);
            if sidecar.artifacts.iter().any(|a| root.join(&a.path) == whole) {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// The folder that the sidecar's paths start at: the nearest above it under which one of its files lies.
fn root_of(path: &Path, sidecar: &Sidecar) -> PathBuf {
    let beside = path.parent().unwrap_or(Path::new("."));
    let whole = fs::canonicalize(beside).unwrap_or_else(|_| beside.to_owned());
    whole
        .ancestors()
        .take(LEVELS_MAX)
        .find(|root| sidecar.artifacts.iter().any(|a| root.join(&a.path).is_file()))
        .unwrap_or(&whole)
        .to_owned()
}

fn check(
    path: &Path,
    wanted: Option<&BTreeSet<PathBuf>>,
    findings: &mut Vec<(PathBuf, Finding)>,
) -> Result<(), Failed> {
    let sidecar =
        read(path)?.ok_or_else(|| Failed::new(format!("{}: changed while being read", path.display())))?;
    let root = root_of(path, &sidecar);
    let wanted: Option<BTreeSet<PathBuf>> =
        wanted.map(|files| files.iter().filter_map(|f| fs::canonicalize(f).ok()).collect());
    for file in &sidecar.artifacts {
        if !Path::new(&file.path).components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(Failed::new(format!(
                "{}: names a file '{}' outside its folder",
                path.display(),
                file.path
            )));
        }
        let place = root.join(&file.path);
        if wanted.as_ref().is_some_and(|w| !w.contains(&place)) {
            continue;
        }
        let finding = match digest_file(&place)? {
            None => Finding::Missing,
            Some(digest) if digest == file.digest => Finding::Ok,
            Some(_) => Finding::Differs,
        };
        findings.push((place, finding));
    }
    Ok(())
}

fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Ok => "OK",
        Finding::Missing => "MISSING",
        Finding::Differs => "DIFFERS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn published() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("scratch");
        fs::create_dir_all(dir.path().join("show/clip")).expect("folders");
        fs::write(dir.path().join("show/clip/0001.png"), "abc").expect("frame");
        let sidecar =
            format!(r#"{{"artifacts":[{{"path":"show/clip/0001.png","digest":"{ABC}"}}],"seed":7}}"#);
        fs::write(dir.path().join("show/clip.json"), sidecar).expect("sidecar");
        dir
    }

    fn findings(path: &Path) -> Vec<Finding> {
        let mut wanted = Wanted::new();
        find(path, &mut wanted).expect("a sidecar");
        let mut findings = Vec::new();
        for (path, files) in &wanted {
            check(path, files.as_ref(), &mut findings).expect("checked");
        }
        findings.into_iter().map(|(_, f)| f).collect()
    }

    #[test]
    fn a_folder_a_sidecar_and_a_file_are_all_ways_to_ask() {
        let dir = published();
        for path in ["", "show/clip.json", "show/clip/0001.png"] {
            assert_eq!(findings(&dir.path().join(path)), [Finding::Ok], "{path}");
        }
    }

    #[test]
    fn a_changed_and_a_missing_file_are_found() {
        let dir = published();
        let frame = dir.path().join("show/clip/0001.png");
        fs::write(&frame, "abd").expect("changed");
        assert_eq!(findings(dir.path()), [Finding::Differs]);
        fs::remove_file(&frame).expect("removed");
        assert_eq!(findings(dir.path()), [Finding::Missing]);
    }

    #[test]
    fn a_folder_without_sidecars_is_not_fine_but_nothing_found() {
        let dir = tempfile::tempdir().expect("scratch");
        let failed = find(dir.path(), &mut Wanted::new()).expect_err("nothing there");
        assert_eq!(failed.exit, Exit::NotFound);
    }
}
