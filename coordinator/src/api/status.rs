//! Refusals: a gRPC status with the details of google.rpc, so that a program can say which field was wrong.

use std::{collections::HashMap, time::Duration};

use croft_core::{
    access::{Denied, Need},
    spec::Problem,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::handle::Refusal;

/// Problems of one spec that are told at once.
const PROBLEMS_TOLD: usize = 64;
/// When to try again while nothing can be written.
const STALLED: Duration = Duration::from_secs(2);

/// `INVALID_ARGUMENT` for one field of a request.
pub(super) fn invalid(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let details = ErrorDetails::with_bad_request_violation(field, description.clone());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {description}"), details)
}

/// `NOT_FOUND` for a named thing.
pub(super) fn not_found(kind: &str, name: &str) -> Status {
    let details = ErrorDetails::with_resource_info(kind, name, "", "");
    Status::with_error_details(Code::NotFound, format!("{kind} '{name}' not found"), details)
}

/// `INVALID_ARGUMENT` with every problem of a spec, the first one in words.
pub(super) fn problems(name: &str, problems: &[Problem]) -> Status {
    let place = if name.is_empty() { "spec" } else { name };
    let more = match problems.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let first = problems.first().map_or_else(|| "refused".to_owned(), ToString::to_string);
    let violations: Vec<FieldViolation> = problems
        .iter()
        .take(PROBLEMS_TOLD)
        .map(|p| {
            let remedy = if p.remedy.is_empty() { String::new() } else { format!("; {}", p.remedy) };
            FieldViolation::new(&p.field, format!("{}:{}: {}{remedy}", p.line, p.column, p.message))
        })
        .collect();
    let details = ErrorDetails::with_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, format!("{place}:{first}{more}"), details)
}

/// `RESOURCE_EXHAUSTED`: a bound that protects everybody.
pub(super) fn exhausted(subject: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let details = ErrorDetails::with_quota_failure_violation(subject, description.clone());
    Status::with_error_details(Code::ResourceExhausted, description, details)
}

/// `UNAUTHENTICATED` for whoever is not known, `PERMISSION_DENIED` for whoever may not.
pub(super) fn denied(why: &Denied) -> Status {
    let code = if why.is_unknown() { Code::Unauthenticated } else { Code::PermissionDenied };
    let roles = match why {
        Denied::Role { needs, holds } => {
            let needs = match needs {
                Need::Person(role) => role.name(),
                Need::Worker => "worker",
                Need::Nothing => "",
            };
            HashMap::from([
                ("needs".to_owned(), needs.to_owned()),
                ("holds".to_owned(), holds.name().to_owned()),
            ])
        }
        _ => HashMap::new(),
    };
    let details = ErrorDetails::with_error_info(why.reason(), "croft", roles);
    Status::with_error_details(code, why.message(), details)
}

/// The reason by which clients and workers know that they must go elsewhere, and where in the details that is said.
const NOT_LEADER: &str = "NOT_LEADER";

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let details = match refusal {
            Refusal::Ended => return Self::unavailable(message),
            Refusal::NotLeader { leader } => {
                let leader = leader.map(|address| ("leader".to_owned(), address));
                ErrorDetails::with_error_info(
                    NOT_LEADER,
                    "croft",
                    leader.into_iter().collect::<HashMap<_, _>>(),
                )
            }
            Refusal::Stalled { why } => {
                let why = HashMap::from([("why".to_owned(), why)]);
                let mut details = ErrorDetails::with_error_info("STATE_STORE", "croft", why);
                details.set_retry_info(Some(STALLED));
                details
            }
        };
        Self::with_error_details(Code::Unavailable, message, details)
    }
}
