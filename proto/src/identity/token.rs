//! A one-time token: a secret that the farm knows by its hash, and the fingerprint of the authority, so that its bearer
//! can trust the farm before it has anything of it.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    Error,
    facts::{hex, unhex},
};

const PREFIX: &str = "croft";
const SECRET_BYTES: usize = 16;
const FINGERPRINT_BYTES: usize = 32;

/// `croft-{secret}-{fingerprint}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Hex.
    pub secret: String,
    /// Of the authority's certificate, hex.
    pub fingerprint: String,
}

impl Token {
    pub fn mint(fingerprint: String) -> Self {
        // Version 4 has 122 bits of the system's randomness: hashed, so that all of them are in every part.
        let random = Sha256::digest([Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat());
        Self { secret: hex(&random[..SECRET_BYTES]), fingerprint }
    }
}

/// By which the farm knows a secret. It has 128 random bits, so a plain hash is enough.
pub fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}", self.secret, self.fingerprint)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_hex = |part: &str, bytes| unhex(part).is_some_and(|read| read.len() == bytes);
        match text.split('-').collect::<Vec<_>>()[..] {
            [PREFIX, secret, fingerprint]
                if is_hex(secret, SECRET_BYTES) && is_hex(fingerprint, FINGERPRINT_BYTES) =>
            {
                Ok(Self { secret: secret.to_owned(), fingerprint: fingerprint.to_owned() })
            }
            _ => Err(Error::Token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written_and_shows_no_secret_in_logs() {
        let token = Token::mint("ab".repeat(32));
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        assert_ne!(Token::mint("ab".repeat(32)).secret, token.secret);
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_none() {
        let token = Token::mint("ab".repeat(32)).to_string();
        for bad in [&token[..token.len() - 1], &token[1..], "", "croft--", &token.replace('-', "_")] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
