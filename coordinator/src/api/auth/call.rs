//! One call: who makes it, and what it turns out to be about.

use std::sync::{Arc, OnceLock};

use croft_core::{
    access::{Caller, Denied, Identity, Role, Shows, Unproven},
    audit::Entry,
    farm::Farm,
    ids::{AttemptId, JobId, WorkerId},
    step::Event,
};
use croft_proto::{
    channel::{Doubt, Peer, Proof},
    identity::{
        Name,
        name::{Holder, UserRole},
    },
};
use tonic::{Code, Request, Status, codegen::http};
use uuid::Uuid;

use super::super::status::{denied, not_found};
use crate::{
    handle::{Handle, Refusal},
    run::Desk,
};

/// Characters of what a stranger says that go into the book.
const TEXT_MAX: usize = 200;
/// The header by which clients name their calls.
const REQUEST_ID: &str = "x-request-id";

/// Travels with the request; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    caller: Caller,
    name: Option<Name>,
    /// What is known of the caller and the method.
    draft: Entry,
    about: OnceLock<String>,
}

impl Call {
    /// Of a request whose connection is `peer`'s.
    pub(super) fn new(method: &str, headers: &http::HeaderMap, peer: Option<&Peer>) -> Self {
        let proof = peer.map_or(Proof::Nothing, Peer::proof);
        let caller = caller(&proof);
        let named = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(short);
        let mut draft = Entry {
            from: peer.and_then(|peer| peer.address).map(|at| at.to_string()).unwrap_or_default(),
            method: method.rsplit_once("v1.").map_or(method, |(_, method)| method).to_owned(),
            request_id: named.unwrap_or_default(),
            times: 1,
            ..Entry::default()
        };
        let mut name = None;
        match proof {
            Proof::Plaintext => "local".clone_into(&mut draft.who),
            Proof::Nothing => {}
            Proof::Doubtful { facts, .. } => {
                if let Some(facts) = facts {
                    draft.who = format!("? {}", facts.claims);
                    draft.serial = facts.serial;
                }
            }
            Proof::Good { name: shown, serial } => {
                draft.who = shown.short();
                draft.serial = serial;
                name = Some(shown);
            }
        }
        if let Caller::Known(identity) = &caller {
            identity.role.name().clone_into(&mut draft.role);
        }
        Self(Arc::new(Inner { caller, name, draft, about: OnceLock::new() }))
    }

    /// The call that a request belongs to. One that did not come through the gate is nobody's.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let known = request.extensions().get::<Self>().cloned();
        known.unwrap_or_else(|| Self::new("", &http::HeaderMap::new(), None))
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// The name in the caller's certificate.
    pub(crate) fn name(&self) -> Option<&Name> {
        self.0.name.as_ref()
    }

    /// Says what the call is about.
    pub(crate) fn about(&self, resource: &str) {
        // What was said first stays.
        let _ = self.0.about.set(short(resource));
    }

    /// The line of the book for this call.
    pub(crate) fn entry(&self, result: Code, reason: &str) -> Entry {
        let mut entry = self.0.draft.clone();
        entry.resource = self.0.about.get().cloned().unwrap_or_default();
        if entry.request_id.is_empty() {
            entry.request_id = Uuid::new_v4().to_string();
        }
        code_name(result).clone_into(&mut entry.result);
        entry.reason = short(reason);
        entry
    }

    /// Somebody wants something: what becomes of it is durable together with the line in the book that says so.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        handle: &Handle,
        event: impl FnOnce(&Farm) -> Option<Event> + Send + 'static,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        handle.act(self.entry(Code::Ok, ""), event, look).await
    }

    /// Whether `show` is the caller's to see.
    pub(crate) fn may_see(&self, show: &str) -> Result<(), Status> {
        self.caller().may_see(show).map_err(|why| denied(&why))
    }

    /// Says that the call is about a job, and refuses one of a show that the caller must not see.
    pub(crate) async fn is_about(&self, handle: &Handle, job: &JobId, name: &str) -> Result<(), Status> {
        self.about(name);
        if self.caller().sees_all() {
            return Ok(());
        }
        let job = job.clone();
        let show = handle.ask(move |desk| desk.farm.plan(&job).map(|plan| plan.show().to_owned())).await?;
        self.may_see(&show.ok_or_else(|| not_found("job", name))?)
    }

    pub(crate) fn may_act_as(&self, worker: &WorkerId) -> Result<(), Denied> {
        self.caller().may_act_as(worker)
    }

    /// Whether a worker may touch what `attempt` wrote or writes.
    pub(crate) fn works_on(&self, farm: &Farm, attempt: &AttemptId) -> Result<(), Status> {
        let Caller::Known(Identity { name, .. }) = self.caller() else { return Ok(()) };
        let Ok(worker) = WorkerId::new(name) else { return Err(denied(&Denied::NoCertificate)) };
        match farm.anothers(attempt, &worker) {
            Some(other) => self.may_act_as(&other).map_err(|why| denied(&why)),
            None => Ok(()),
        }
    }
}

fn caller(proof: &Proof) -> Caller {
    let known = |name: &str, role, shows| Caller::Known(Identity { name: name.to_owned(), role, shows });
    match proof {
        Proof::Plaintext => Caller::Local,
        Proof::Nothing => Caller::Nobody,
        Proof::Doubtful { why, .. } => Caller::Unproven(match why {
            Doubt::Untrusted => Unproven::Untrusted,
            Doubt::Expired => Unproven::Expired,
            Doubt::NotYetValid => Unproven::NotYetValid,
            Doubt::Revoked => Unproven::Revoked,
            Doubt::Nameless => Unproven::Nameless,
        }),
        Proof::Good { name, .. } => match &name.holder {
            Holder::Worker(name) => known(name, Role::Worker, Shows::All),
            Holder::Coordinator(name) => known(name, Role::Coordinator, Shows::All),
            Holder::User { name, role, shows } => {
                let role = match role {
                    UserRole::Viewer => Role::Viewer,
                    UserRole::Artist => Role::Artist,
                    UserRole::Wrangler => Role::Wrangler,
                    UserRole::Admin => Role::Admin,
                };
                let only = || Shows::Only(shows.iter().cloned().collect());
                known(name, role, if shows.is_empty() { Shows::All } else { only() })
            }
        },
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// As google.rpc writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
