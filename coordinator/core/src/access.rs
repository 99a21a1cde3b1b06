//! Who may do what: the roles, the shows that somebody works on, and the decision as a value.
//!
//! It knows nothing of certificates or methods: the shell says who calls and what the call needs.

use std::collections::BTreeSet;

use crate::ids::WorkerId;

/// What a person or a machine is on the farm. Of people each may do all that the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Submits and changes jobs of own shows.
    Artist,
    /// Looks after workers, shares and limits.
    Wrangler,
    Admin,
    Worker,
    Coordinator,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Artist => "artist",
            Self::Wrangler => "wrangler",
            Self::Admin => "admin",
            Self::Worker => "worker",
            Self::Coordinator => "coordinator",
        }
    }

    fn is_person(self) -> bool {
        self <= Self::Admin
    }
}

/// The shows whose jobs somebody sees and, as an artist, changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    All,
    Only(BTreeSet<String>),
}

/// Somebody whose certificate counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub role: Role,
    pub shows: Shows,
}

/// Whoever calls, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// In plaintext over loopback: who is at this machine may do everything, as with any program of theirs.
    Local,
    Known(Identity),
    /// Without a certificate.
    Nobody,
    /// With one that does not count.
    Unproven(Unproven),
}

/// Why a certificate does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// Not signed by the farm's own authority.
    Untrusted,
    Expired,
    NotYetValid,
    Revoked,
    /// Signed, and of no name that this farm gives.
    Nameless,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: how somebody without a certificate gets one.
    Nothing,
    /// A person of this role or a higher one.
    Person(Role),
    /// A worker; what it may touch is its own.
    Worker,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    NoCertificate,
    Unproven(Unproven),
    Role { needs: Need, holds: Role },
    Show { show: String },
    OtherWorker { name: String, worker: String },
}

impl Denied {
    /// Whether it is unknown who calls, rather than what they may do.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::NoCertificate | Self::Unproven(_) => true,
            Self::Role { .. } | Self::Show { .. } | Self::OtherWorker { .. } => false,
        }
    }

    /// For programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "NO_CERTIFICATE",
            Self::Unproven(Unproven::Untrusted) => "CERTIFICATE_UNTRUSTED",
            Self::Unproven(Unproven::Expired) => "CERTIFICATE_EXPIRED",
            Self::Unproven(Unproven::NotYetValid) => "CERTIFICATE_NOT_YET_VALID",
            Self::Unproven(Unproven::Revoked) => "CERTIFICATE_REVOKED",
            Self::Unproven(Unproven::Nameless) => "CERTIFICATE_NAMELESS",
            Self::Role { .. } => "ROLE",
            Self::Show { .. } => "SHOW",
            Self::OtherWorker { .. } => "OTHER_WORKER",
        }
    }

    /// For people, with the remedy.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::NoCertificate => {
                "no certificate was shown: have one issued by `croft certs issue`, and give its \
                                    folder by --identity"
                    .to_owned()
            }
            Self::Unproven(why) => match why {
                Unproven::Untrusted => {
                    "the certificate is not of this farm: have one issued by its own authority"
                }
                Unproven::Expired => {
                    "the certificate has expired: have a new one issued by `croft certs issue`"
                }
                Unproven::NotYetValid => {
                    "the certificate is not valid yet: compare the clocks of both machines"
                }
                Unproven::Revoked => "the certificate was revoked",
                Unproven::Nameless => "the certificate names neither a user nor a machine of this farm",
            }
            .to_owned(),
            Self::Role { needs, holds } => {
                format!("this needs {}, and the certificate's role is {}", needs.words(), holds.name())
            }
            Self::Show { show } => format!("the certificate does not include show '{show}'"),
            Self::OtherWorker { name, worker } => {
                format!("the certificate is that of worker '{name}', and this is about worker '{worker}'")
            }
        }
    }
}

impl Need {
    /// `a wrangler`, `a worker` …
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Person(Role::Viewer) => "a viewer",
            Self::Person(Role::Artist) => "an artist",
            Self::Person(Role::Wrangler) => "a wrangler",
            Self::Person(Role::Admin) => "an admin",
            Self::Person(Role::Worker | Role::Coordinator) | Self::Worker => "a worker",
        }
    }
}

impl Caller {
    /// Whether whoever this is may make a call that needs `need`.
    ///
    /// ```
    /// use croft_core::access::{Caller, Denied, Identity, Need, Role, Shows};
    ///
    /// let kim = Caller::Known(Identity { name: "kim".into(), role: Role::Artist, shows: Shows::All });
    /// assert_eq!(kim.may(Need::Person(Role::Viewer)), Ok(()));
    /// let needs = Need::Person(Role::Wrangler);
    /// assert_eq!(kim.may(needs), Err(Denied::Role { needs, holds: Role::Artist }));
    /// ```
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, need: Need) -> Result<(), Denied> {
        if need == Need::Nothing {
            return Ok(());
        }
        let holds = match self {
            Self::Local => return Ok(()),
            Self::Nobody => return Err(Denied::NoCertificate),
            Self::Unproven(why) => return Err(Denied::Unproven(*why)),
            Self::Known(identity) => identity.role,
        };
        let may = match need {
            Need::Nothing => true,
            // A machine is no person, whatever it could do in the order of roles.
            Need::Person(role) => holds.is_person() && holds >= role,
            Need::Worker => holds == Role::Worker,
        };
        if may { Ok(()) } else { Err(Denied::Role { needs: need, holds }) }
    }

    /// Whether jobs of `show` are this one's to see. Wranglers and admins see all.
    ///
    /// # Errors
    /// Why not.
    pub fn may_see(&self, show: &str) -> Result<(), Denied> {
        match self {
            Self::Known(Identity {
                role: Role::Viewer | Role::Artist, shows: Shows::Only(shows), ..
            }) if !shows.contains(show) => Err(Denied::Show { show: show.to_owned() }),
            Self::Known(_) | Self::Local => Ok(()),
            Self::Nobody => Err(Denied::NoCertificate),
            Self::Unproven(why) => Err(Denied::Unproven(*why)),
        }
    }

    /// Whether there are shows that this one must not see.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Known(Identity { role, shows, .. }) => *role > Role::Artist || *shows == Shows::All,
            Self::Nobody | Self::Unproven(_) => false,
        }
    }

    /// Whether this is `worker`, or may stand for any.
    ///
    /// # Errors
    /// Why not.
    pub fn may_act_as(&self, worker: &WorkerId) -> Result<(), Denied> {
        match self {
            Self::Local => Ok(()),
            Self::Known(Identity { name, role: Role::Worker, .. }) if name == worker.as_str() => Ok(()),
            Self::Known(Identity { name, role: Role::Worker, .. }) => {
                Err(Denied::OtherWorker { name: name.clone(), worker: worker.to_string() })
            }
            Self::Known(Identity { role, .. }) => Err(Denied::Role { needs: Need::Worker, holds: *role }),
            Self::Nobody => Err(Denied::NoCertificate),
            Self::Unproven(why) => Err(Denied::Unproven(*why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(role: Role, shows: Shows) -> Caller {
        Caller::Known(Identity { name: "ws-1".to_owned(), role, shows })
    }

    #[test]
    fn a_machine_is_no_person_and_a_person_no_machine() {
        for role in [Role::Worker, Role::Coordinator] {
            let machine = known(role, Shows::All);
            let needs = Need::Person(Role::Viewer);
            assert_eq!(machine.may(needs), Err(Denied::Role { needs, holds: role }));
        }
        let admin = known(Role::Admin, Shows::All);
        assert_eq!(admin.may(Need::Worker), Err(Denied::Role { needs: Need::Worker, holds: Role::Admin }));
        assert!(admin.may_act_as(&WorkerId::new("ws-1").unwrap()).is_err());
    }

    #[test]
    fn roles_of_people_rise() {
        let people = [Role::Viewer, Role::Artist, Role::Wrangler, Role::Admin];
        for (held, holds) in people.into_iter().enumerate() {
            for (needed, needs) in people.into_iter().enumerate() {
                let may = known(holds, Shows::All).may(Need::Person(needs)).is_ok();
                assert_eq!(may, held >= needed, "{holds:?} for {needs:?}");
            }
        }
    }

    #[test]
    fn who_is_unknown_may_only_become_known() {
        for stranger in [Caller::Nobody, Caller::Unproven(Unproven::Revoked)] {
            assert_eq!(stranger.may(Need::Nothing), Ok(()));
            for need in [Need::Person(Role::Viewer), Need::Worker] {
                assert!(stranger.may(need).unwrap_err().is_unknown(), "{stranger:?} {need:?}");
            }
            assert!(stranger.may_see("spring").is_err() && !stranger.sees_all());
        }
    }

    #[test]
    fn shows_bound_artists_and_viewers_and_nobody_above_them() {
        let only = || Shows::Only(BTreeSet::from(["spring".to_owned()]));
        for role in [Role::Viewer, Role::Artist] {
            assert_eq!(known(role, only()).may_see("spring"), Ok(()));
            let refused = known(role, only()).may_see("autumn");
            assert_eq!(refused, Err(Denied::Show { show: "autumn".to_owned() }));
            assert_eq!(known(role, Shows::All).may_see("autumn"), Ok(()));
        }
        assert_eq!(known(Role::Wrangler, only()).may_see("autumn"), Ok(()));
    }

    #[test]
    fn a_worker_is_itself_and_no_other() {
        let worker = known(Role::Worker, Shows::All);
        assert_eq!(worker.may_act_as(&WorkerId::new("ws-1").unwrap()), Ok(()));
        let refused = worker.may_act_as(&WorkerId::new("ws-2").unwrap()).unwrap_err();
        assert_eq!((refused.reason(), refused.is_unknown()), ("OTHER_WORKER", false));
    }
}
