//! What a certificate says of itself. Whether that counts is another question: `channel::trust` answers it.

use std::fmt::Write;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Name;

/// Characters of a name that somebody claims without proof, at most: it goes into logs.
const CLAIM_CHARS_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `None` for one that names nobody of a farm, such as an authority.
    pub name: Option<Name>,
    /// What it calls its holder, for people.
    pub claims: String,
    /// Hex.
    pub serial: String,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    pub not_after: i64,
    /// DNS names and addresses, of a server.
    pub hosts: Vec<String>,
}

impl Facts {
    /// `None` for what is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (rest, read) = X509Certificate::from_der(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let names = read.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        // One name and no other: a certificate is one holder's.
        let name = match (uris.next(), uris.next()) {
            (Some(uri), None) => uri.parse().ok(),
            _ => None,
        };
        let hosts = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        });
        let subject: String = read.subject().to_string();
        let claims = name.as_ref().map_or(subject, Name::short);
        Some(Self {
            claims: claims.chars().filter(|c| !c.is_control()).take(CLAIM_CHARS_MAX).collect(),
            name,
            serial: hex(read.raw_serial()),
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
            hosts: hosts.collect(),
        })
    }

    /// Of the first certificate in a text.
    pub fn of_pem(text: &str) -> Option<Self> {
        Self::of(&CertificateDer::from_pem_slice(text.as_bytes()).ok()?)
    }
}

/// Seconds since the Unix epoch, by the clock that certificates are judged by.
pub fn now() -> u64 {
    rustls::pki_types::UnixTime::now().as_secs()
}

/// By which an authority is known before anything of it is trusted: SHA-256 of the certificate, hex.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string())
}
