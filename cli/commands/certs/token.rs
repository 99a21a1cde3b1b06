//! `croft certs token`: a one-time token, printed once.

use croft_proto::v1::{self, create_token_request::Name};
use serde_json::json;

use super::issue::user_role;
use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    exit::{Exit, Failed},
    output,
};

pub(super) async fn run(args: args::Token) -> Result<Exit, Failed> {
    let name = name(&args)?;
    let coordinator = Coordinator::find(&args.client).await?;
    let ttl_ms = u64::try_from(args.ttl.as_millis()).unwrap_or(u64::MAX);
    let request = v1::CreateTokenRequest { name: Some(name), ttl_ms };
    let made = coordinator.identity().create_token(client::request(request)).await?.into_inner();
    let whole = format!("{}@{}", made.token, coordinator.address);
    let verb = if args.worker.is_some() { "worker" } else { "certs" };
    if args.output.output == Format::Json {
        let fields = json!({
            "token": whole, "identity": made.identity, "expireTime": made.expire_time.map(|at| at.to_string()),
        });
        output::json("JoinToken", fields)?;
    } else if output::for_people() {
        output::line(&format!("{} may join once, until {}:", made.identity, expires(&made)))?;
        output::line(&format!("  croft {verb} join {whole}"))?;
    } else {
        output::line(&whole)?;
    }
    Ok(Exit::Ok)
}

fn expires(made: &v1::Token) -> String {
    made.expire_time.map_or_else(String::new, |at| output::utc(at.seconds))
}

fn name(args: &args::Token) -> Result<Name, Failed> {
    if let Some(worker) = &args.worker {
        return Ok(Name::Worker(format!("workers/{worker}")));
    }
    let role = args.role.and_then(user_role);
    let role = role.ok_or_else(|| Failed::with(Exit::Usage, "--user needs a user's --role"))?;
    let role = match role {
        croft_proto::identity::name::UserRole::Viewer => v1::UserRole::Viewer,
        croft_proto::identity::name::UserRole::Artist => v1::UserRole::Artist,
        croft_proto::identity::name::UserRole::Wrangler => v1::UserRole::Wrangler,
        croft_proto::identity::name::UserRole::Admin => v1::UserRole::Admin,
    };
    let name = args.user.clone().unwrap_or_default();
    Ok(Name::User(v1::User { name, role: role.into(), shows: args.show.clone() }))
}
