//! Where connections may go: the networks that are private by their numbers, and those that a studio adds.

use std::path::PathBuf;

use croft_proto::{
    egress::{Guard, Network, Networks},
    store::Reach,
};

use crate::{
    args,
    exit::{Exit, Failed},
};

/// Flags win over the file, where there is one.
pub(crate) fn guard(flags: &args::Egress, file: Option<Vec<String>>) -> Result<Guard, Failed> {
    let added = match &flags.allow_networks {
        Some(networks) => networks.clone(),
        None => file.unwrap_or_default().iter().map(|text| network(text)).collect::<Result<_, _>>()?,
    };
    Ok(Guard::new(Networks::with(added)))
}

/// The same for a role, which may reach a store.
pub(super) fn reach(
    egress: args::Egress,
    store: args::Store,
    allow_networks: Option<Vec<String>>,
    artifacts_ca: Option<PathBuf>,
) -> Result<Reach, Failed> {
    let authority = store.artifacts_ca.or(artifacts_ca);
    Ok(Reach { guard: guard(&egress, allow_networks)?, authority })
}

fn network(text: &str) -> Result<Network, Failed> {
    text.trim().parse().map_err(|error| Failed::with(Exit::Usage, format!("allow_networks: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_the_flags_win_over_those_of_the_file() {
        let file = || Some(vec!["192.0.2.0/24".to_owned()]);
        let allows = |guard: &Guard, text: &str| guard.networks().allows(text.parse().expect(text));
        let of_file = guard(&args::Egress::default(), file()).expect("a network");
        assert!(allows(&of_file, "192.0.2.7") && allows(&of_file, "10.0.0.1"));
        let flags = args::Egress { allow_networks: Some(vec!["203.0.113.0/24".parse().expect("a network")]) };
        let of_flags = guard(&flags, file()).expect("a network");
        assert!(allows(&of_flags, "203.0.113.7") && !allows(&of_flags, "192.0.2.7"));
        let bad =
            guard(&args::Egress::default(), Some(vec!["the studio".to_owned()])).expect_err("it is none");
        assert!(bad.to_string().contains("allow_networks: 'the studio' is no network"), "{bad}");
    }
}
