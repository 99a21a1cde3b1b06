//! The service that makes somebody known: tokens, first certificates and their renewal.

use std::{sync::Arc, time::Duration};

use croft_core::{
    access::{Need, Role},
    audit::Entry,
    invitation::Refused,
    step::Event,
};
use croft_proto::{
    identity::{
        Authority, Name, Token,
        name::{Holder, UserRole},
        request::public_key,
        token,
    },
    v1::{self, create_token_request},
};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use super::{
    auth::{Book, Call},
    convert,
    status::{denied, exhausted, invalid},
};
use crate::handle::Handle;

/// Certificates that are signed at once: each costs a signature and two files.
const AT_ONCE: usize = 4;
const TTL_DEFAULT_MS: u64 = 60 * 60 * 1_000;
const TTL_MIN_MS: u64 = 60 * 1_000;
const TTL_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
const SECRET_BYTES_MAX: usize = 100;
/// How long a certificate that this coordinator signs is valid. A worker has it renewed in time; one that was switched
/// off for longer joins again.
const VALID: Duration = Duration::from_secs(90 * 24 * 60 * 60);

#[derive(Debug)]
pub(crate) struct Identity {
    handle: Handle,
    book: Book,
    /// `None` for a coordinator that does not hold the farm's authority.
    authority: Option<Arc<Authority>>,
    places: Semaphore,
}

impl Identity {
    pub(crate) fn new(handle: Handle, book: Book, authority: Option<Arc<Authority>>) -> Self {
        Self { handle, book, authority, places: Semaphore::new(AT_ONCE) }
    }

    fn authority(&self) -> Result<Arc<Authority>, Status> {
        self.authority.clone().ok_or_else(|| {
            Status::failed_precondition(
                "this coordinator does not hold the farm's authority: start it with --certs DIR, the folder of `croft \
                 certs init`, or ask one that does",
            )
        })
    }

    async fn sign(&self, name: Name, request: Vec<u8>) -> Result<(String, String), Status> {
        let authority = self.authority()?;
        let signed = tokio::task::spawn_blocking(move || {
            let key = public_key(&request)?;
            let certificate = authority.issue(&name, &[], VALID, &key)?;
            Ok::<_, croft_proto::identity::Error>((certificate, authority.certificate().to_owned()))
        });
        match signed.await {
            Ok(Ok(signed)) => Ok(signed),
            Ok(Err(error)) => {
                tracing::error!(%error, "no certificate was signed");
                Err(Status::internal("no certificate was signed; the coordinator's log says why"))
            }
            Err(error) => {
                tracing::error!(%error, "signing failed");
                Err(Status::internal("no certificate was signed; the coordinator's log says why"))
            }
        }
    }
}

#[tonic::async_trait]
impl v1::identity_server::Identity for Identity {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let call = Call::of(&request);
        let v1::CreateTokenRequest { ttl_ms, name } = request.into_inner();
        let authority = self.authority()?;
        let holder = holder(&call, name)?;
        let name = Name::new(authority.farm(), holder).map_err(|error| invalid("name", error.to_string()))?;
        call.about(&name.to_string());
        let ttl_ms = if ttl_ms == 0 { TTL_DEFAULT_MS } else { ttl_ms };
        if !(TTL_MIN_MS..=TTL_MAX_MS).contains(&ttl_ms) {
            return Err(invalid("ttl_ms", format!("is {ttl_ms}, must be {TTL_MIN_MS} to {TTL_MAX_MS}")));
        }
        let expires = self.handle.ask(move |desk| desk.clock.now().plus_ms(ttl_ms)).await?;
        let token = Token::mint(authority.fingerprint().to_owned());
        let (hash, sought) = (token::hash(&token.secret), token::hash(&token.secret));
        let identity = name.to_string();
        let event = move |_: &_| Some(Event::Invited { hash, name: name.to_string(), expires });
        if !call.act(&self.handle, event, move |desk| desk.farm.is_invited(&sought)).await? {
            return Err(exhausted(
                "tokens",
                "too many tokens are open; they are forgotten a day after they end",
            ));
        }
        Ok(Response::new(v1::Token {
            token: token.to_string(),
            expire_time: Some(convert::timestamp(expires)),
            identity,
        }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let call = Call::of(&request);
        let v1::JoinRequest { secret, certificate_request } = request.into_inner();
        let _place = self.places.try_acquire().map_err(|_| {
            exhausted("joins", format!("{AT_ONCE} machines are joining already; try again in a moment"))
        })?;
        self.authority()?;
        if secret.len() > SECRET_BYTES_MAX {
            return Err(invalid("secret", "is none of a token"));
        }
        // Looked at first: a token is not spent on a request that cannot be signed.
        public_key(&certificate_request)
            .map_err(|error| invalid("certificate_request", error.to_string()))?;
        let (hash, sought) = (token::hash(&secret), token::hash(&secret));
        let id = Uuid::new_v4().to_string();
        let seen = id.clone();
        let event = move |farm: &croft_core::farm::Farm| {
            farm.is_invited(&hash).then_some(Event::InvitationShown { hash, request: id })
        };
        let admitted = self
            .handle
            .tell(event, move |desk| desk.farm.admitted(desk.clock.now(), &sought, &seen).map(str::to_owned));
        let identity = admitted.await?.map_err(refused)?;
        call.about(&identity);
        let name: Name = identity.parse().map_err(|_| Status::internal("the token names nobody"))?;
        let (certificate, authority) = self.sign(name.clone(), certificate_request).await?;
        tracing::info!(identity, "joined");
        let entry = Entry { who: name.short(), ..call.entry(Code::Ok, "") };
        self.book.done(entry).await;
        Ok(Response::new(v1::JoinResponse { certificate, authority, identity }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let call = Call::of(&request);
        let v1::RenewRequest { certificate_request } = request.into_inner();
        let Some(name) = call.name().cloned() else {
            return Err(Status::failed_precondition("there is no certificate to renew: this is plaintext"));
        };
        call.about(&name.to_string());
        let _place = self.places.try_acquire().map_err(|_| {
            exhausted("renewals", format!("{AT_ONCE} are being signed already; try again in a moment"))
        })?;
        public_key(&certificate_request)
            .map_err(|error| invalid("certificate_request", error.to_string()))?;
        let (certificate, authority) = self.sign(name, certificate_request).await?;
        self.book.done(call.entry(Code::Ok, "")).await;
        Ok(Response::new(v1::RenewResponse { certificate, authority }))
    }
}

/// Whom a token is for. Wranglers look after machines; only admins say what people may do.
fn holder(call: &Call, name: Option<create_token_request::Name>) -> Result<Holder, Status> {
    match name {
        Some(create_token_request::Name::Worker(worker)) => {
            let bare = worker.strip_prefix("workers/");
            let bare = bare.ok_or_else(|| {
                invalid("worker", format!("'{worker}' is no worker's name: workers/WORKER"))
            })?;
            Ok(Holder::Worker(bare.to_owned()))
        }
        Some(create_token_request::Name::User(user)) => {
            call.caller().may(Need::Person(Role::Admin)).map_err(|why| denied(&why))?;
            let role = match user.role() {
                v1::UserRole::Viewer => UserRole::Viewer,
                v1::UserRole::Artist => UserRole::Artist,
                v1::UserRole::Wrangler => UserRole::Wrangler,
                v1::UserRole::Admin => UserRole::Admin,
                v1::UserRole::Unspecified => return Err(invalid("user.role", "is missing")),
            };
            if role == UserRole::Artist && user.shows.is_empty() {
                return Err(invalid("user.shows", "are missing: name them, or give `*` for all"));
            }
            let shows = if user.shows.iter().any(|show| show == "*") { Vec::new() } else { user.shows };
            Ok(Holder::User { name: user.name, role, shows })
        }
        None => Err(invalid("name", "is missing: give a worker or a user")),
    }
}

/// Whoever shows a token that lets nobody in is as unknown as before.
fn refused(why: Refused) -> Status {
    let reason = match why {
        Refused::Unknown => "TOKEN_UNKNOWN",
        Refused::Expired => "TOKEN_EXPIRED",
        Refused::Spent => "TOKEN_USED",
    };
    let details = ErrorDetails::with_error_info(reason, "croft", std::collections::HashMap::new());
    Status::with_error_details(Code::Unauthenticated, why.to_string(), details)
}
