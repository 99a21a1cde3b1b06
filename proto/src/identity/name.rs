//! Names as certificates carry them, SPIFFE URIs: `spiffe://FARM/worker/ws-1`, `spiffe://FARM/coordinator/lead`,
//! `spiffe://FARM/user/kim/artist/spring/autumn`: a user's role and shows are a part of the name, so that they hold
//! without asking anybody, and go when the certificate is revoked.

use std::{fmt, str::FromStr};

use super::Error;

/// Characters of one part, at most.
const PART_CHARS_MAX: usize = 63;
/// A certificate that lists more shows than this should list none, and so all.
const SHOWS_MAX: usize = 64;

/// A user or a machine of a farm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub farm: String,
    pub holder: Holder,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Worker(String),
    Coordinator(String),
    /// Without shows: of all of them.
    User {
        name: String,
        role: UserRole,
        shows: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserRole {
    Viewer,
    Artist,
    Wrangler,
    Admin,
}

impl UserRole {
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Artist => "artist",
            Self::Wrangler => "wrangler",
            Self::Admin => "admin",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Artist, Self::Wrangler, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

impl Name {
    /// # Errors
    /// When a part of it is no name.
    pub fn new(farm: &str, holder: Holder) -> Result<Self, Error> {
        let name = Self { farm: farm.to_owned(), holder };
        let parts: Vec<&str> = match &name.holder {
            Holder::Worker(name) | Holder::Coordinator(name) => vec![name],
            Holder::User { name, shows, .. } => {
                if shows.len() > SHOWS_MAX {
                    return Err(Error::BadName { name: format!("more than {SHOWS_MAX} shows") });
                }
                std::iter::once(name).chain(shows).map(String::as_str).collect()
            }
        };
        match std::iter::once(farm).chain(parts).find(|part| !is_part(part)) {
            Some(bad) => Err(Error::BadName { name: bad.chars().take(80).collect() }),
            None => Ok(name),
        }
    }

    /// What the holder is called among its like.
    pub fn bare(&self) -> &str {
        match &self.holder {
            Holder::Worker(name) | Holder::Coordinator(name) | Holder::User { name, .. } => name,
        }
    }

    /// `worker/ws-1`, `user/kim`: without the farm and what the holder may do.
    pub fn short(&self) -> String {
        match &self.holder {
            Holder::Worker(name) => format!("worker/{name}"),
            Holder::Coordinator(name) => format!("coordinator/{name}"),
            Holder::User { name, .. } => format!("user/{name}"),
        }
    }
}

/// Whether `part` can stand between two slashes of a name.
pub(crate) fn is_part(part: &str) -> bool {
    let begins = part.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let made_of =
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    begins && made_of && part.len() <= PART_CHARS_MAX
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.farm, self.short())?;
        if let Holder::User { role, shows, .. } = &self.holder {
            write!(f, "/{}", role.name())?;
            shows.iter().try_for_each(|show| write!(f, "/{show}"))?;
        }
        Ok(())
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Self, Error> {
        let none = || Error::NoName { uri: uri.chars().take(200).collect() };
        let parts: Vec<&str> = uri.strip_prefix("spiffe://").ok_or_else(none)?.split('/').collect();
        let (farm, holder) = match parts[..] {
            [farm, "worker", name] => (farm, Holder::Worker(name.to_owned())),
            [farm, "coordinator", name] => (farm, Holder::Coordinator(name.to_owned())),
            [farm, "user", name, role, ref shows @ ..] => {
                let role = UserRole::named(role).ok_or_else(none)?;
                let shows = shows.iter().map(|&show| show.to_owned()).collect();
                (farm, Holder::User { name: name.to_owned(), role, shows })
            }
            _ => return Err(none()),
        };
        Self::new(farm, holder).map_err(|_| none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for uri in [
            "spiffe://acme/worker/ws-1",
            "spiffe://acme.studio/coordinator/lead",
            "spiffe://acme/user/kim/artist/spring/autumn",
            "spiffe://acme/user/sam/admin",
        ] {
            assert_eq!(uri.parse::<Name>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for uri in [
            "",
            "https://acme/worker/ws-1",
            "spiffe://acme/worker",
            "spiffe://acme/worker/ws-1/x",
            "spiffe://acme/worker/..",
            "spiffe://acme/user/kim",
            "spiffe://acme/user/kim/king",
            "spiffe://acme/user/kim/artist/",
            "spiffe://acme/user/kim/artist/*",
            "spiffe:///worker/ws-1",
        ] {
            assert!(uri.parse::<Name>().is_err(), "{uri}");
        }
    }
}
