//! Which files say who a process is: flags over a settings file over the folder where a join or an installation puts
//! them.

use std::{fs, path::PathBuf};

use croft_proto::{channel::Files, identity::Folder};

use super::{IDENTITY, WORKER_FILE, absolute, client_home, data_home};
use crate::{
    args,
    exit::{Exit, Failed},
};

/// The keys of a settings file.
#[derive(Debug, Default)]
pub(super) struct TlsFile {
    pub(super) identity: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// The files to use, or `None` for plaintext: asked for, or nothing is there.
pub(super) fn files(
    flags: &args::Tls,
    file: TlsFile,
    usual: Option<Folder>,
    insecure: bool,
) -> Result<Option<Files>, Failed> {
    if insecure {
        return Ok(None);
    }
    let named = flags.identity.clone().or(file.identity).map(Folder);
    if let Some(named) = named.as_ref().filter(|named| !named.is_there()) {
        return Err(Failed::with(Exit::Usage, format!("{} holds no identity (cert.pem)", named.0.display()))
            .help("have one issued by `croft certs issue`, or join by a token"));
    }
    let parts =
        (flags.ca.clone().or(file.ca), flags.cert.clone().or(file.cert), flags.key.clone().or(file.key));
    let folder = named.or_else(|| usual.filter(Folder::is_there));
    match (parts, folder) {
        ((None, None, None), None) => Ok(None),
        ((Some(authority), Some(certificate), Some(key)), None) => {
            Ok(Some(Files { authority, certificate, key, revoked: Vec::new() }))
        }
        ((_, _, _), None) => Err(Failed::with(Exit::Usage, "--ca, --cert and --key go together")
            .help("give all three, or a folder that holds them by --identity")),
        ((ca, cert, key), Some(folder)) => {
            let all = Files::from(&folder);
            Ok(Some(Files {
                authority: ca.unwrap_or(all.authority),
                certificate: cert.unwrap_or(all.certificate),
                key: key.unwrap_or(all.key),
                revoked: Vec::new(),
            }))
        }
    }
}

/// The folder of the farm's authority.
pub(crate) fn authority_dir(flag: Option<PathBuf>) -> Result<PathBuf, Failed> {
    absolute(match flag {
        Some(dir) => dir,
        None => data_home("certs")?,
    })
}

/// Where a client finds who it is.
pub(crate) fn client_identity() -> Option<Folder> {
    Some(Folder(client_home()?.join(IDENTITY)))
}

/// Notes for the worker in `dir` where its coordinator is.
pub(crate) fn write_worker(dir: &std::path::Path, coordinator: &str) -> Result<PathBuf, Failed> {
    note(dir.join(WORKER_FILE), coordinator)
}

/// The same for the clients of this user.
pub(crate) fn write_client(coordinator: &str) -> Result<PathBuf, Failed> {
    let home =
        client_home().ok_or_else(|| Failed::with(Exit::Usage, "no home directory to keep settings in"))?;
    note(home.join("client.toml"), coordinator)
}

fn note(path: PathBuf, coordinator: &str) -> Result<PathBuf, Failed> {
    let failed = |error: std::io::Error| Failed::new(format!("{}: {error}", path.display()));
    let before = if path.exists() { fs::read_to_string(&path).map_err(failed)? } else { String::new() };
    let text = merged(&before, coordinator);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    let part = path.with_extension("part");
    fs::write(&part, text).map_err(failed)?;
    fs::rename(&part, &path).map_err(failed)?;
    Ok(path)
}

/// A settings file that names another coordinator; every other line stays as somebody wrote it.
fn merged(before: &str, coordinator: &str) -> String {
    let is_ours = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == "coordinator");
    let rest: Vec<&str> = before.lines().filter(|line| !is_ours(line)).collect();
    let mut text = format!("coordinator = \"{coordinator}\"\n");
    rest.iter().for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_what_is_left_when_nothing_says_who_one_is() {
        let none = args::Tls::default();
        let nowhere = || Some(Folder("no/such/folder".into()));
        assert_eq!(files(&none, TlsFile::default(), nowhere(), false).expect("fine"), None);
        let named = args::Tls { identity: Some("no/such/folder".into()), ..none.clone() };
        assert_eq!(
            files(&named, TlsFile::default(), None, false).expect_err("it is not there").exit,
            Exit::Usage
        );
        assert_eq!(files(&named, TlsFile::default(), None, true).expect("plaintext was asked for"), None);
        let half = args::Tls { ca: Some("ca.pem".into()), ..none };
        assert_eq!(files(&half, TlsFile::default(), None, false).expect_err("half").exit, Exit::Usage);
    }

    #[test]
    fn a_flag_wins_over_the_file_and_both_over_the_usual_place() {
        let dir = tempfile::tempdir().expect("scratch");
        fs::write(dir.path().join("cert.pem"), "x").expect("written");
        let usual = || Some(Folder(dir.path().to_owned()));
        let flags = args::Tls { key: Some("flag.pem".into()), ..args::Tls::default() };
        let file = TlsFile { key: Some("file.pem".into()), ca: Some("ca.pem".into()), ..TlsFile::default() };
        let found = files(&flags, file, usual(), false).expect("fine").expect("an identity");
        assert_eq!(found.key, PathBuf::from("flag.pem"));
        assert_eq!(found.authority, PathBuf::from("ca.pem"));
        assert_eq!(found.certificate, dir.path().join("cert.pem"));
    }

    #[test]
    fn a_settings_file_keeps_what_others_wrote_into_it() {
        let before = "# mine\ndevices = 'cpu:2'\ncoordinator = 'old:1'\n";
        assert_eq!(merged(before, "farm:7400"), "coordinator = \"farm:7400\"\n# mine\ndevices = 'cpu:2'\n");
    }
}
