//! Joining: a key is made here, a token is shown, and a certificate comes back. Whoever answers is trusted by the
//! fingerprint in the token alone.

use std::time::Duration;

use croft_proto::{
    channel::{self, Address, Dial, Security, Trouble},
    egress::Guard,
    identity::{Facts, Folder, Request, Token, facts::fingerprint, name::Holder},
    v1::{JoinRequest, JoinResponse, identity_client::IdentityClient},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::failed;
use crate::{
    args, client,
    config::{self, IDENTITY},
    exit::{Exit, Failed},
    output,
};

const CONNECT: Duration = Duration::from_secs(5);

/// What a join gave.
struct Joined {
    answer: JoinResponse,
    holder: Holder,
    key_pem: String,
    /// As it was given.
    coordinators: String,
}

pub(in crate::commands) async fn join_worker(args: args::Join) -> Result<Exit, Failed> {
    let dir = config::worker_dir(args.data_dir)?;
    let joined = join(&args.token, &args.egress).await?;
    let Holder::Worker(_) = &joined.holder else {
        return Err(Failed::with(Exit::Usage, format!("the token was one of {}", joined.answer.identity))
            .help("it is used up: make another with `croft certs token --worker NAME`"));
    };
    let folder = Folder(dir.join(IDENTITY));
    write(&folder, &joined)?;
    let settings = config::write_worker(&dir, &joined.coordinators)?;
    output::line(&format!("this machine is {}", joined.answer.identity))?;
    output::line(&format!("{} and {} are written", folder.0.display(), settings.display()))?;
    Ok(Exit::Ok)
}

pub(super) async fn join_user(args: args::Join) -> Result<Exit, Failed> {
    let folder = config::client_identity()
        .ok_or_else(|| Failed::with(Exit::Usage, "no home directory to keep an identity in"))?;
    let joined = join(&args.token, &args.egress).await?;
    let Holder::User { .. } = &joined.holder else {
        return Err(Failed::with(Exit::Usage, format!("the token was one of {}", joined.answer.identity))
            .help("it is used up: a worker joins by `croft worker join TOKEN@HOST:PORT`"));
    };
    write(&folder, &joined)?;
    let settings = config::write_client(&joined.coordinators)?;
    output::line(&format!("you are {}", joined.answer.identity))?;
    output::line(&format!("{} and {} are written", folder.0.display(), settings.display()))?;
    Ok(Exit::Ok)
}

fn write(folder: &Folder, joined: &Joined) -> Result<(), Failed> {
    let JoinResponse { certificate, authority, .. } = &joined.answer;
    folder.write(authority, certificate, &joined.key_pem).map_err(failed)
}

async fn join(text: &str, egress: &args::Egress) -> Result<Joined, Failed> {
    let usage = |text: String| {
        Failed::with(Exit::Usage, text).help("give TOKEN@HOST:PORT, as `croft certs token` printed it")
    };
    let (token, coordinators) =
        text.split_once('@').ok_or_else(|| usage("there is no @ in it".to_owned()))?;
    let token: Token =
        token.parse().map_err(|error: croft_proto::identity::Error| usage(error.to_string()))?;
    let guard = config::guard(egress, None)?;
    let request = Request::make().map_err(failed)?;
    let mut last = usage("no coordinator is named".to_owned());
    for address in coordinators.split(',') {
        let address: Address =
            address.trim().parse().map_err(|error: channel::Error| usage(error.to_string()))?;
        match ask(&token, &address, &request, &guard).await {
            Ok(answer) => {
                let holder = checked(&token, &answer)?;
                let (key_pem, coordinators) = (request.key_pem, coordinators.to_owned());
                return Ok(Joined { answer, holder, key_pem, coordinators });
            }
            // One that does not lead, or is not there: another may be.
            Err(error) if error.exit == Exit::Unreachable => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn ask(
    token: &Token,
    address: &Address,
    request: &Request,
    guard: &Guard,
) -> Result<JoinResponse, Failed> {
    let how = Dial {
        guard: guard.clone(),
        security: Security::Plaintext,
        pinned: Some(token.fingerprint.clone()),
        connect: CONNECT,
        keep_alive: CONNECT,
        window: None,
    };
    let channel = channel::dial(address, &how).await.map_err(|error| match error.trouble {
        Trouble::Untrusted => Failed::with(Exit::Denied, format!("{address}: {error}")).help(
            "this is not the farm that the token is of, or its certificate does not name this address: the token was \
             not sent",
        ),
        Trouble::Refused => Failed::with(Exit::Usage, error.to_string()),
        Trouble::Address | Trouble::Unreachable => {
            Failed::with(Exit::Unreachable, format!("no coordinator answers at {address}: {error}"))
        }
    })?;
    let asked = JoinRequest { secret: token.secret.clone(), certificate_request: request.der.clone() };
    Ok(IdentityClient::new(channel).join(client::request(asked)).await?.into_inner())
}

/// What came must be of the farm that the token is of, and for the name that it says.
fn checked(token: &Token, answer: &JoinResponse) -> Result<Holder, Failed> {
    let odd = |what: &str| Failed::new(format!("the coordinator's answer is not used: {what}"));
    let authority = CertificateDer::from_pem_slice(answer.authority.as_bytes());
    if !authority.is_ok_and(|authority| fingerprint(&authority) == token.fingerprint) {
        return Err(odd("it is of another authority"));
    }
    let facts = Facts::of_pem(&answer.certificate).ok_or_else(|| odd("it holds no certificate"))?;
    match facts.name {
        Some(name) if name.to_string() == answer.identity => Ok(name.holder),
        _ => Err(odd("its certificate is another's")),
    }
}
