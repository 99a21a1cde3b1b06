//! `croft nimby`: whether the worker of this machine may work. It acts through a file in the worker's folder, which
//! outlives the worker and needs no coordinator.

use std::{fs, io, path::Path};

use crate::{
    args::{self, NimbyWish},
    config,
    exit::{Exit, Failed},
    output,
};

pub(super) fn run(args: args::Nimby) -> Result<Exit, Failed> {
    let dir = config::worker_dir(args.data_dir)?;
    let file = dir.join(croft_worker::NIMBY_FILE);
    let failed = |error: io::Error| Failed::new(format!("{}: {error}", file.display()));
    match args.wish {
        NimbyWish::On => {
            fs::create_dir_all(&dir).map_err(failed)?;
            // Written beside and renamed, so that the worker never reads half a reason.
            let part = dir.join(format!("{}.part", croft_worker::NIMBY_FILE));
            fs::write(&part, args.reason.unwrap_or_default()).map_err(failed)?;
            fs::rename(&part, &file).map_err(failed)?;
        }
        NimbyWish::Off => match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        },
        NimbyWish::Status => {}
    }
    output::line(&state(&file))?;
    Ok(Exit::Ok)
}

fn state(file: &Path) -> String {
    match fs::read_to_string(file) {
        Ok(reason) if reason.trim().is_empty() => "on: this machine takes no work".to_owned(),
        Ok(reason) => format!("on: this machine takes no work ({})", reason.trim()),
        Err(_) => "off: this machine takes work".to_owned(),
    }
}
