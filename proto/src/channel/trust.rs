//! What a certificate is worth: whether the farm's authority signed it, for that purpose, and has not taken it back.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::identity::{Facts, Name, facts::fingerprint};

/// Why a certificate does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    Untrusted,
    Expired,
    NotYetValid,
    Revoked,
    /// Signed, and of nobody that a farm names.
    Nameless,
}

/// What the other side has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It is on this machine, and nobody asked it for anything.
    Plaintext,
    Nothing,
    Doubtful {
        why: Doubt,
        facts: Option<Facts>,
    },
    Good {
        name: Name,
        serial: String,
    },
}

/// What `chain` is worth to `verifier` at `now`.
pub(super) fn judge(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Proof {
    let Some((first, rest)) = chain.split_first() else { return Proof::Nothing };
    let facts = Facts::of(first);
    let why = match verifier.verify_client_cert(first, rest, now) {
        Ok(_) => match facts.clone() {
            Some(Facts { name: Some(name), serial, .. }) => return Proof::Good { name, serial },
            Some(_) | None => Doubt::Nameless,
        },
        Err(TlsError::InvalidCertificate(error)) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Doubt::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Doubt::NotYetValid,
            CertificateError::Revoked => Doubt::Revoked,
            _ => Doubt::Untrusted,
        },
        Err(_) => Doubt::Untrusted,
    };
    Proof::Doubtful { why, facts }
}

/// Asks every client for a certificate and takes whatever it shows, if it holds the key to it. What it is worth is
/// judged afterwards, and again as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Asks(pub(super) Arc<CryptoProvider>);

impl ClientCertVerifier for Asks {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Without hints a client shows the one that it has, be it of another farm: so it hears what is wrong with it.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Trusts the one authority whose fingerprint is known, for whoever has nothing else of the farm yet. The server must
/// show that authority with its own certificate.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) fingerprint: String,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let authority = intermediates.iter().find(|shown| fingerprint(shown) == self.fingerprint);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        );
        let verifier = verifier.build().map_err(|error| TlsError::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
