//! How a command ends: its exit code, and for a failure the words and the remedy on standard error.

use std::{fmt, io::Write, process::ExitCode};

use tonic::Code;
use tonic_types::StatusExt;

/// The codes that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Failed,
    Usage,
    /// The spec is invalid or does not fit.
    Spec,
    NotFound,
    Denied,
    Unreachable,
    JobFailed,
    /// Ended by a signal of this number; shells expect 128 and it.
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Spec => 3,
            Exit::NotFound => 4,
            Exit::Denied => 5,
            Exit::Unreachable => 6,
            Exit::JobFailed => 7,
            Exit::Signal(number) => 128 + number,
        })
    }
}

/// Why a command failed. Several messages when several things are wrong at once, as in a spec.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    pub(crate) messages: Vec<Message>,
}

/// What is wrong, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) help: Option<String>,
}

impl Failed {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::with(Exit::Failed, text)
    }

    pub(crate) fn with(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, messages: vec![Message { text: text.into(), help: None }] }
    }

    /// Adds the remedy to the last message.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(last) = self.messages.last_mut() {
            last.help = Some(help.into());
        }
        self
    }

    /// Writes `error: …` and `help: …` lines. A closed standard error is nobody's problem.
    pub(crate) fn tell(&self) {
        let mut err = std::io::stderr().lock();
        for Message { text, help } in &self.messages {
            let _ = writeln!(err, "error: {text}");
            if let Some(help) = help.as_ref().filter(|h| !h.is_empty()) {
                let _ = writeln!(err, "help: {help}");
            }
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.messages.iter().map(|m| m.text.as_str()).collect();
        f.write_str(&texts.join("; "))
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

impl From<tonic::Status> for Failed {
    fn from(status: tonic::Status) -> Self {
        let exit = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Exit::Spec,
            Code::NotFound => Exit::NotFound,
            Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
            Code::Unavailable | Code::DeadlineExceeded => Exit::Unreachable,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Exit::Failed,
        };
        if let Some(bad) = status.get_details_bad_request().filter(|b| !b.field_violations.is_empty()) {
            let messages = bad
                .field_violations
                .iter()
                .map(|v| Message { text: format!("{}: {}", v.field, v.description), help: None })
                .collect();
            return Self { exit, messages };
        }
        // What the transport says itself comes of no coordinator of ours.
        if exit == Exit::Failed && std::error::Error::source(&status).is_some() {
            return Self::with(Exit::Unreachable, status.message().to_owned())
                .help("if the coordinator speaks TLS, this client needs an identity: see --identity");
        }
        let failed = Self::with(exit, status.message().to_owned());
        match exit {
            // One that gives its reasons is there.
            Exit::Unreachable if status.get_details_error_info().is_some() => {
                failed.help("the coordinator is there: `croft status` tells when it can do it again")
            }
            Exit::Unreachable => failed.help("is the coordinator running, and is this its address?"),
            _ => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, FieldViolation};

    #[test]
    fn every_violation_of_a_bad_request_is_told() {
        let mut details = ErrorDetails::new();
        details.set_bad_request(vec![
            FieldViolation::new("layers[0].params.size", "4:5: 500x500 is not a multiple of 32"),
            FieldViolation::new("axes.seed", "2:3: empty"),
        ]);
        let status = tonic::Status::with_error_details(Code::InvalidArgument, "spec is invalid", details);
        let failed = Failed::from(status);
        assert_eq!(failed.exit, Exit::Spec);
        assert_eq!(failed.messages.len(), 2);
        assert!(failed.messages[0].text.contains("layers[0].params.size: 4:5: 500x500"));
    }

    #[test]
    fn an_unavailable_coordinator_is_unreachable_and_says_what_to_check() {
        let failed = Failed::from(tonic::Status::unavailable("connection refused"));
        assert_eq!(failed.exit, Exit::Unreachable);
        assert!(failed.messages[0].help.as_ref().is_some_and(|help| help.contains("is this its address")));
        let details =
            ErrorDetails::with_error_info("STATE_STORE", "croft", [("why".to_owned(), "full".to_owned())]);
        let full =
            tonic::Status::with_error_details(Code::Unavailable, "nothing can be written now", details);
        assert!(Failed::from(full).messages[0].help.as_ref().is_some_and(|help| help.contains("is there")));
    }
}
