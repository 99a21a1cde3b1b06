//! How the ranks of a gang know each other: by a key that whoever has their token can make, and nobody else.
//!
//! Both sides of a connection show its public half bare, as RFC 7250 has it, and sign the handshake with it. Traffic keys
//! come of an exchange that leaves nothing behind, so that a token which leaks later opens nothing that was recorded.
//! Nothing here names anybody: all ranks of a gang have the same key, and inside each says who it is.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme, SupportedCipherSuite,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms,
        ring::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider, kx_group, sign::any_eddsa_type},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use sha2::{Digest, Sha256};

/// What is spoken inside, hello and frames. Ranks of two versions make two keys of one token.
const SPEAKS: &[u8] = b"croft-rank/3";
/// What PKCS #8 writes before the 32 bytes of an Ed25519 key (RFC 8410).
const ED25519: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// The secret of one gang.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a rank needs to meet others of one gang and generation.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) dials: Arc<ClientConfig>,
    pub(super) answers: Arc<ServerConfig>,
}

impl Trust {
    pub(super) fn new(token: &Token, generation: u64) -> Self {
        let own = key(token, generation);
        let theirs = own.cert[0].clone();
        // Any processor that renders has instructions for it.
        Self::between(own, theirs, TLS13_AES_128_GCM_SHA256)
    }

    /// Shows `own`, and wants to be shown `theirs`.
    fn between(own: Arc<CertifiedKey>, theirs: CertificateDer<'static>, suite: SupportedCipherSuite) -> Self {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![suite],
            kx_groups: vec![kx_group::X25519],
            ..default_provider()
        });
        let same = Arc::new(Same { theirs, algorithms: provider.signature_verification_algorithms });
        let speaks = "the provider has all that TLS 1.3 wants";
        let mut dials = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect(speaks)
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&same) as _)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&own))));
        dials.alpn_protocols = vec![SPEAKS.to_vec()];
        dials.enable_sni = false;
        dials.resumption = Resumption::disabled();
        let mut answers = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect(speaks)
            .with_client_cert_verifier(same)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
        answers.alpn_protocols = vec![SPEAKS.to_vec()];
        answers.session_storage = Arc::new(NoServerSessionStorage {});
        answers.send_tls13_tickets = 0;
        Self { dials: Arc::new(dials), answers: Arc::new(answers) }
    }
}

/// The gang's key, and its public half in the place of a certificate.
fn key(token: &Token, generation: u64) -> Arc<CertifiedKey> {
    let seed = Sha256::new()
        .chain_update(SPEAKS)
        .chain_update(token.0)
        .chain_update(generation.to_le_bytes())
        .finalize();
    let pkcs8 = PrivatePkcs8KeyDer::from([&ED25519[..], &seed[..]].concat());
    let key = any_eddsa_type(&pkcs8).expect("any 32 bytes are an Ed25519 key");
    let shown = key.public_key().expect("ring knows the public half").to_vec();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(shown)], key))
}

/// Takes whoever shows the gang's own key and has signed with it.
#[derive(Debug)]
struct Same {
    theirs: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Same {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        if *shown == self.theirs {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn signed(
        &self,
        message: &[u8],
        by: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(by.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

fn never() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls12NotOffered.into())
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _by: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        by: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, by, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Same {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _by: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        by: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, by, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test dials what it started")]
mod tests;
