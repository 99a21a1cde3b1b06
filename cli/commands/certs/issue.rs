//! `croft certs issue`: a key and a certificate, into a folder to carry, or to where this machine looks.

use std::{net::IpAddr, time::Duration};

use croft_proto::identity::{
    Authority, Folder, Name, Request,
    name::{Holder, UserRole},
    request::public_key,
};

use super::failed;
use crate::{
    args::{self, IssuedRole},
    config::{self, IDENTITY},
    exit::{Exit, Failed},
    output,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(args: args::Issue) -> Result<Exit, Failed> {
    let authority = Authority::open(&config::authority_dir(args.dir.clone())?).map_err(failed)?;
    let holder = holder(&args)?;
    if !args.host.is_empty() && args.role != IssuedRole::Coordinator {
        return Err(Failed::with(Exit::Usage, "only a coordinator is reached at a --host"));
    }
    let hosts = if args.role == IssuedRole::Coordinator { hosts(&args.host) } else { Vec::new() };
    let days = args.days.unwrap_or(if args.role == IssuedRole::Worker { 90 } else { 365 });
    let valid =
        args.seconds.map_or(DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)), Duration::from_secs);
    let folder = folder(&args)?;
    let name = Name::new(authority.farm(), holder).map_err(failed)?;
    // The key is made here and goes nowhere but into the folder.
    let request = Request::make().map_err(failed)?;
    let key = public_key(&request.der).map_err(failed)?;
    let certificate = authority.issue(&name, &hosts, valid, &key).map_err(failed)?;
    folder.write(authority.certificate(), &certificate, &request.key_pem).map_err(failed)?;
    output::line(&format!("{name} in {}", folder.0.display()))?;
    if !hosts.is_empty() {
        output::line(&format!("reached as {}", hosts.join(", ")))?;
    }
    Ok(Exit::Ok)
}

fn holder(args: &args::Issue) -> Result<Holder, Failed> {
    let name = args.name.clone();
    match user_role(args.role) {
        Some(role) => Ok(Holder::User { name, role, shows: shows(role, &args.show)? }),
        None if !args.show.is_empty() => {
            Err(Failed::with(Exit::Usage, "a machine works for all shows: leave --show out"))
        }
        None if args.role == IssuedRole::Worker => Ok(Holder::Worker(name)),
        None => Ok(Holder::Coordinator(name)),
    }
}

/// `None` for a machine.
pub(super) fn user_role(role: IssuedRole) -> Option<UserRole> {
    match role {
        IssuedRole::Viewer => Some(UserRole::Viewer),
        IssuedRole::Artist => Some(UserRole::Artist),
        IssuedRole::Wrangler => Some(UserRole::Wrangler),
        IssuedRole::Admin => Some(UserRole::Admin),
        IssuedRole::Worker | IssuedRole::Coordinator => None,
    }
}

/// An artist's shows are said, if only by `*`; a certificate without any is of all.
fn shows(role: UserRole, shows: &[String]) -> Result<Vec<String>, Failed> {
    match role {
        UserRole::Artist if shows.is_empty() => {
            Err(Failed::with(Exit::Usage, "which shows does the artist work on?")
                .help("give --show SHOW, more than once if need be, or --show '*'"))
        }
        UserRole::Wrangler | UserRole::Admin if !shows.is_empty() => {
            Err(Failed::with(Exit::Usage, "wranglers and admins work on all shows: leave --show out"))
        }
        _ if shows.iter().any(|show| show == "*") => Ok(Vec::new()),
        _ => Ok(shows.to_vec()),
    }
}

/// Where a coordinator is reached: what was said, and this machine under its own names.
fn hosts(said: &[String]) -> Vec<String> {
    let own = croft_worker::host_name();
    let mut hosts: Vec<String> = said.to_vec();
    for host in [own.as_str(), "localhost", "127.0.0.1", "::1"] {
        let is_fit = host.parse::<IpAddr>().is_ok() || !host.contains('_');
        if is_fit && !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

fn folder(args: &args::Issue) -> Result<Folder, Failed> {
    if !args.install {
        let out = args.out.clone().unwrap_or_else(|| args.name.clone().into());
        return Ok(Folder(config::absolute(out)?));
    }
    match args.role {
        IssuedRole::Coordinator => Ok(Folder(config::data_home("coordinator")?.join(IDENTITY))),
        IssuedRole::Worker => Ok(Folder(config::data_home("worker")?.join(IDENTITY))),
        IssuedRole::Viewer | IssuedRole::Artist | IssuedRole::Wrangler | IssuedRole::Admin => {
            config::client_identity()
                .ok_or_else(|| Failed::with(Exit::Usage, "no home directory").help("give --out DIR"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artists_shows_are_said_and_those_above_have_all() {
        let said = |shows: &[&str]| shows.iter().map(|&show| show.to_owned()).collect::<Vec<_>>();
        assert!(shows(UserRole::Artist, &[]).is_err());
        assert_eq!(shows(UserRole::Artist, &said(&["*"])).expect("all"), said(&[]));
        assert_eq!(shows(UserRole::Artist, &said(&["spring"])).expect("one"), said(&["spring"]));
        assert_eq!(shows(UserRole::Viewer, &[]).expect("all"), said(&[]));
        assert!(shows(UserRole::Admin, &said(&["spring"])).is_err());
    }

    #[test]
    fn a_coordinator_is_reached_at_this_machine_too() {
        let hosts = hosts(&["10.0.0.5".to_owned(), "localhost".to_owned()]);
        assert_eq!(hosts[0], "10.0.0.5");
        assert_eq!(hosts.iter().filter(|host| *host == "localhost").count(), 1);
        assert!(hosts.iter().any(|host| host == "127.0.0.1"));
    }
}
