//! The stored form of the book and of invitations: `audit/{d|m|r}/{chunk}`, `invitations/{hash}`.

use serde::{Deserialize, Serialize};

use super::{VERSION, put};
use crate::{
    audit::{Changed, Kind, Numbered},
    invitation::Invitation,
    step::Write,
};

#[derive(Debug, Deserialize)]
pub(crate) struct AuditRecord {
    pub(crate) entries: Vec<Numbered>,
}

#[derive(Serialize)]
struct AuditWritten<'a> {
    version: u32,
    entries: Vec<&'a Numbered>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InvitationRecord {
    #[serde(flatten)]
    pub(crate) invitation: Invitation,
}

#[derive(Serialize)]
struct InvitationWritten<'a> {
    version: u32,
    #[serde(flatten)]
    invitation: &'a Invitation,
}

pub(crate) fn audit(changed: Changed<'_>) -> Write {
    let Changed { kind, chunk, entries } = changed;
    let letter = match kind {
        Kind::Deed => 'd',
        Kind::Machine => 'm',
        Kind::Refusal => 'r',
    };
    let key = format!("audit/{letter}/{chunk:08x}");
    match entries {
        Some(entries) => put(key, &AuditWritten { version: VERSION, entries }),
        None => Write { key, value: None },
    }
}

/// The reverse of the key above, behind `audit/`.
pub(super) fn audit_chunk(name: &str) -> Option<(Kind, u64)> {
    let (letter, chunk) = name.split_once('/')?;
    let kind = match letter {
        "d" => Kind::Deed,
        "m" => Kind::Machine,
        "r" => Kind::Refusal,
        _ => return None,
    };
    Some((kind, u64::from_str_radix(chunk, 16).ok()?))
}

pub(crate) fn invitation(hash: &str, invitation: Option<&Invitation>) -> Write {
    let key = format!("invitations/{hash}");
    match invitation {
        Some(invitation) => put(key, &InvitationWritten { version: VERSION, invitation }),
        None => Write { key, value: None },
    }
}
