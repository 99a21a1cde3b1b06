//! The worker's own certificate, renewed in time: with the key that it has, so that one file changes and no process ever
//! sees half of a new identity. Who was switched off for longer than a certificate lasts joins again.

use std::{sync::Arc, time::Duration};

use croft_proto::{
    channel::{Address, Dial, Files, Keys, Security, dial},
    identity::{Facts, Request, folder},
    v1::{RenewRequest, identity_client::IdentityClient},
};
use tokio::time::{sleep, timeout};

use crate::clock;

/// It is looked at again after this part of what is left of its life, and at least once an hour.
const PART: u32 = 4;
const LOOK_MAX: Duration = Duration::from_secs(60 * 60);
const LOOK_MIN: Duration = Duration::from_secs(1);
/// What a coordinator gets to sign it.
const ANSWER: Duration = Duration::from_secs(10);

/// Renews until it is dropped.
pub(crate) async fn run(addresses: Vec<Address>, how: Dial) {
    let Security::Tls(keys) = how.security.clone() else { return };
    loop {
        let left = u64::try_from(keys.facts().not_after - clock::unix_seconds()).unwrap_or(0);
        sleep((Duration::from_secs(left) / PART).clamp(LOOK_MIN, LOOK_MAX)).await;
        if !is_due(&keys.facts(), clock::unix_seconds()) {
            continue;
        }
        for address in &addresses {
            match renew(address, &how, &keys).await {
                Ok(()) => {
                    tracing::info!("the certificate was renewed");
                    break;
                }
                Err(why) => {
                    tracing::warn!(%address, "the certificate was not renewed, it is tried again: {why}")
                }
            }
        }
    }
}

/// Whether two thirds of its life are over.
fn is_due(facts: &Facts, now: i64) -> bool {
    now > facts.not_after - (facts.not_after - facts.not_before) / 3
}

async fn renew(address: &Address, how: &Dial, keys: &Arc<Keys>) -> Result<(), String> {
    let Files { certificate, key, .. } = keys.files();
    let key = tokio::fs::read_to_string(key).await.map_err(|error| format!("{}: {error}", key.display()))?;
    let request = Request::again(&key).map_err(|error| error.to_string())?;
    let channel = dial(address, how).await.map_err(|error| error.to_string())?;
    let asked = RenewRequest { certificate_request: request.der };
    let answer = timeout(ANSWER, IdentityClient::new(channel).renew(asked)).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|status| status.message().to_owned())?;
    let new = answer.into_inner().certificate;
    let facts = Facts::of_pem(&new).ok_or("what came is no certificate")?;
    if facts.name != keys.facts().name {
        return Err("what came is another's certificate".to_owned());
    }
    folder::renew(certificate, &new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_two_thirds_of_its_life() {
        let facts = Facts {
            name: None,
            claims: String::new(),
            serial: String::new(),
            not_before: 1_000,
            not_after: 1_300,
            hosts: Vec::new(),
        };
        assert!(!is_due(&facts, 1_200));
        assert!(is_due(&facts, 1_201));
    }
}
