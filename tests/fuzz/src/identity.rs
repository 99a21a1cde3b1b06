//! What strangers show of themselves: tokens, names, certificates, requests for certificates. Refused, or read and then
//! written as it was.
//!
//! The first byte says what the rest is.

use croft_proto::identity::{Facts, Name, Token, request::public_key};
use rustls::pki_types::CertificateDer;

pub fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            let _ = public_key(bytes);
        }
        1 => facts(Facts::of(&CertificateDer::from(bytes))),
        2 => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            facts(Facts::of_pem(text));
        }
        _ => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(token) = text.parse::<Token>() {
                assert_eq!(token.to_string(), text);
            }
            if let Ok(name) = text.parse::<Name>() {
                assert_eq!(name.to_string(), text);
            }
        }
    }
}

fn facts(facts: Option<Facts>) {
    let Some(facts) = facts else { return };
    assert!(
        facts.claims.chars().count() <= 100 && !facts.claims.chars().any(char::is_control),
        "{:?}",
        facts.claims
    );
    if let Some(name) = facts.name {
        assert_eq!(name.to_string().parse::<Name>().expect("its own words"), name);
    }
}
