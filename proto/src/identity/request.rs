//! A key pair and the request for a certificate of it. The private key is made here and stays with whoever made it.

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PublicKey};
use rustls::pki_types::CertificateSigningRequestDer;

use super::Error;

/// A request has one public key and one signature.
const BYTES_MAX: usize = 8 << 10;

#[derive(Debug)]
pub struct Request {
    pub key_pem: String,
    /// PKCS #10, DER.
    pub der: Vec<u8>,
}

impl Request {
    /// With a new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn make() -> Result<Self, Error> {
        Self::of(&KeyPair::generate()?)
    }

    /// For a key that is in use already.
    ///
    /// # Errors
    /// When it is no key.
    pub fn again(key_pem: &str) -> Result<Self, Error> {
        Self::of(&KeyPair::from_pem(key_pem)?)
    }

    fn of(key: &KeyPair) -> Result<Self, Error> {
        let request = CertificateParams::default().serialize_request(key)?;
        Ok(Self { key_pem: key.serialize_pem(), der: request.der().to_vec() })
    }
}

/// The key in a stranger's request, who has proved to hold its other half. Whatever else it asks for is left aside.
///
/// # Errors
/// When it is no request, or signed by another key.
pub fn public_key(der: &[u8]) -> Result<PublicKey, Error> {
    let odd = |what: String| Error::Request { what };
    if der.len() > BYTES_MAX {
        return Err(odd(format!("{} bytes; {BYTES_MAX} at most", der.len())));
    }
    let der = CertificateSigningRequestDer::from(der);
    let read = CertificateSigningRequestParams::from_der(&der).map_err(|error| odd(error.to_string()))?;
    Ok(read.public_key)
}
