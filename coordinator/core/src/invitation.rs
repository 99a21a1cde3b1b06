//! Invitations: who may become known to the farm, until when, and once.
//!
//! Only the hash of an invitation's secret is kept; whoever reads the store cannot use one.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Invitations at once: a studio has fewer machines, and a script that goes wrong must not fill the store.
pub(crate) const OPEN_MAX: usize = 1_000;
/// A spent or expired one is remembered for a day, so that whoever tries it again is told what it was.
pub(crate) const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1_000;

/// One invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The name that its bearer gets, as certificates write it.
    pub name: String,
    pub expires: Time,
    /// Which request it was spent on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<String>,
}

/// Why an invitation lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this token is none of this farm's, or was forgotten: make another with `croft certs token`")]
    Unknown,
    #[error("this token has expired: make another with `croft certs token`")]
    Expired,
    #[error("this token was used before: make another with `croft certs token`")]
    Spent,
}

impl Invitation {
    /// Whether `request` is the one that it lets in, after it was asked to.
    pub(crate) fn admits(&self, now: Time, request: &str) -> Result<&str, Refused> {
        match &self.spent {
            Some(spent) if spent == request => Ok(&self.name),
            Some(_) => Err(Refused::Spent),
            None if now >= self.expires => Err(Refused::Expired),
            None => Err(Refused::Unknown),
        }
    }
}
