//! `croft certs`: the farm's own authority. `init`, `issue`, `revoke` and `list` work on its folder, without a
//! coordinator; `token` and `join` ask one.

mod issue;
mod join;
mod token;

use croft_proto::identity::{Authority, name::Holder};
use serde_json::json;

use crate::{
    args::{self, CertsWish, Format},
    clock, config,
    exit::{Exit, Failed},
    output::{self, Table},
};

pub(super) use join::join_worker;

pub(super) async fn run(wish: CertsWish) -> Result<Exit, Failed> {
    match wish {
        CertsWish::Init(args) => init(args),
        CertsWish::Issue(args) => issue::run(args),
        CertsWish::Revoke(args) => revoke(&args),
        CertsWish::List(args) => list(args),
        CertsWish::Token(args) => token::run(args).await,
        CertsWish::Join(args) => join::join_user(args).await,
    }
}

fn failed(error: croft_proto::identity::Error) -> Failed {
    Failed::new(error.to_string())
}

fn init(args: args::Init) -> Result<Exit, Failed> {
    let dir = config::authority_dir(args.dir)?;
    let authority = Authority::init(&dir, &args.farm).map_err(failed)?;
    output::line(&format!("authority of farm '{}' in {}", authority.farm(), dir.display()))?;
    output::line(&format!("fingerprint {}", authority.fingerprint()))?;
    output::line("keep ca-key.pem where nobody else reads it: whoever has it can become anybody")?;
    Ok(Exit::Ok)
}

fn revoke(args: &args::Revoke) -> Result<Exit, Failed> {
    let authority = Authority::open(&config::authority_dir(args.dir.clone())?).map_err(failed)?;
    let all = authority.issued().map_err(failed)?;
    let mut serials = Vec::new();
    for which in &args.which {
        let named = |it: &&croft_proto::identity::authority::Issued| {
            let name = it.facts.name.as_ref();
            it.facts.serial == *which
                || name.is_some_and(|name| name.bare() == which || name.short() == *which)
        };
        let found: Vec<_> = all.iter().filter(named).collect();
        if found.is_empty() {
            return Err(Failed::with(Exit::NotFound, format!("no certificate of '{which}' was issued here"))
                .help("`croft certs list` shows names and serials"));
        }
        for it in found.iter().filter(|it| !it.revoked) {
            output::line(&format!("revoked {} {}", it.facts.claims, it.facts.serial))?;
            serials.push(it.facts.serial.clone());
        }
    }
    authority.revoke(&serials).map_err(failed)?;
    Ok(Exit::Ok)
}

fn list(args: args::List) -> Result<Exit, Failed> {
    let authority = Authority::open(&config::authority_dir(args.dir)?).map_err(failed)?;
    let all = authority.issued().map_err(failed)?;
    let now = clock::unix_seconds();
    let state = |it: &croft_proto::identity::authority::Issued| match () {
        () if it.revoked => "REVOKED",
        () if it.facts.not_after <= now => "EXPIRED",
        () => "VALID",
    };
    let rows = all.iter().map(|it| {
        let (role, of) = match it.facts.name.as_ref().map(|name| &name.holder) {
            Some(Holder::User { role, shows, .. }) if shows.is_empty() => (role.name(), "*".to_owned()),
            Some(Holder::User { role, shows, .. }) => (role.name(), shows.join(",")),
            Some(Holder::Coordinator(_)) => ("coordinator", it.facts.hosts.join(",")),
            Some(Holder::Worker(_)) => ("worker", String::new()),
            None => ("", String::new()),
        };
        (it, role, of, state(it))
    });
    if args.output.output == Format::Json {
        let items = rows.map(|(it, role, of, state)| {
            json!({
                "name": it.facts.claims, "identity": it.facts.name.as_ref().map(ToString::to_string),
                "role": role, "of": of, "serial": it.facts.serial, "state": state,
                "expireTime": output::utc(it.facts.not_after),
            })
        });
        let items: Vec<_> = items.collect();
        output::json("CertificateList", json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["NAME", "ROLE", "SHOWS/HOSTS", "STATE", "EXPIRES", "SERIAL"]);
    for (it, role, of, state) in rows {
        table.row([
            it.facts.claims.clone(),
            role.to_owned(),
            of,
            state.to_owned(),
            output::utc(it.facts.not_after),
            it.facts.serial.clone(),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}
