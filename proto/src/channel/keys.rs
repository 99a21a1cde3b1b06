//! An identity's files as TLS wants them, read again when they change: no process is restarted for a new certificate or
//! a longer revocation list.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{Error, trust::Asks};
use crate::identity::{Facts, Folder, folder};

/// Where the parts of an identity lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Of a server: revocation lists. One that is not there yet revokes nothing.
    pub revoked: Vec<PathBuf>,
}

impl From<&Folder> for Files {
    fn from(folder: &Folder) -> Self {
        Self {
            authority: folder.authority(),
            certificate: folder.certificate(),
            key: folder.key(),
            revoked: Vec::new(),
        }
    }
}

/// An identity in use.
#[derive(Debug)]
pub struct Keys {
    files: Files,
    now: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    loaded: Arc<Loaded>,
    /// Of a change that could not be taken up: told once.
    refused: Option<Vec<Stamp>>,
}

/// The files as they were read at one moment.
#[derive(Debug)]
pub(super) struct Loaded {
    stamps: Vec<Stamp>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    facts: Facts,
}

/// By which a changed file is known.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Keys {
    /// # Errors
    /// When a file is missing or not what it should be, and which.
    pub fn open(files: Files) -> Result<Arc<Self>, Error> {
        let loaded = Arc::new(Loaded::read(&files)?);
        Ok(Arc::new(Self { files, now: Mutex::new(Held { loaded, refused: None }) }))
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What this process's certificate says.
    pub fn facts(&self) -> Facts {
        self.current().facts.clone()
    }

    /// What is in the files now. A change that cannot be used leaves what was: half of one may have been seen, and the
    /// next look sees the rest.
    pub(super) fn current(&self) -> Arc<Loaded> {
        let mut held = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps == held.loaded.stamps || Some(&stamps) == held.refused.as_ref() {
            return Arc::clone(&held.loaded);
        }
        match Loaded::read(&self.files) {
            Ok(loaded) => {
                tracing::info!(
                    identity = loaded.facts.claims,
                    serial = loaded.facts.serial,
                    "certificates were read again"
                );
                *held = Held { loaded: Arc::new(loaded), refused: None };
            }
            Err(error) => {
                tracing::error!(%error, "changed certificates are not taken up; those from before stay in use");
                held.refused = Some(stamps);
            }
        }
        Arc::clone(&held.loaded)
    }
}

impl Loaded {
    fn read(files: &Files) -> Result<Self, Error> {
        // Before the files, so that a change in between is seen with the next look.
        let stamps = stamps(files);
        let provider = Arc::new(ring::default_provider());
        let authorities = certificates(&files.authority)?;
        let mut chain = certificates(&files.certificate)?;
        let odd = |what: &str| Error::Odd { path: files.certificate.clone(), what: what.to_owned() };
        let facts = chain.first().and_then(Facts::of).ok_or_else(|| odd("no certificate"))?;
        // A server shows its authority, so that whoever knows only its fingerprint can go on.
        chain.extend(authorities.iter().filter(|shown| !chain.contains(shown)).cloned().collect::<Vec<_>>());
        let key = PrivateKeyDer::from_pem_slice(text(&files.key)?.as_bytes())
            .map_err(|error| Error::Odd { path: files.key.clone(), what: error.to_string() })?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let mut lists = Vec::new();
        for path in files.revoked.iter().filter(|path| path.exists()) {
            let list = CertificateRevocationListDer::from_pem_slice(text(path)?.as_bytes());
            lists.push(
                list.map_err(|_| Error::Odd {
                    path: path.clone(),
                    what: "is no revocation list".to_owned(),
                })?,
            );
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .with_crls(lists)
            .build()
            .map_err(|error| Error::Odd { path: files.authority.clone(), what: error.to_string() })?;
        let server = server(Arc::clone(&provider), chain.clone(), key.clone_key())?;
        let client = client(provider)?.with_root_certificates(roots);
        let mut client = client.with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![H2.to_vec()];
        Ok(Self { stamps, client: Arc::new(client), server: Arc::new(server), verifier, facts })
    }
}

const H2: &[u8] = b"h2";

fn server(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Asks(provider)))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

pub(super) fn client(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

/// For whoever knows no more of the farm than its authority's fingerprint.
pub(super) fn pinned(fingerprint: &str) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier =
        super::trust::Pinned { fingerprint: fingerprint.to_owned(), provider: Arc::clone(&provider) };
    let config = client(provider)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let odd = |what: String| Error::Odd { path: path.to_owned(), what };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(path)?.as_bytes()).collect();
    match read {
        Ok(read) if !read.is_empty() => Ok(read),
        Ok(_) => Err(odd("holds no certificate".to_owned())),
        Err(error) => Err(odd(error.to_string())),
    }
}

fn text(path: &Path) -> Result<String, Error> {
    folder::read(path).map_err(|error| match error {
        crate::identity::Error::File { path, source } => Error::File { path, source },
        other => Error::Odd { path: path.to_owned(), what: other.to_string() },
    })
}

fn stamps(files: &Files) -> Vec<Stamp> {
    let all = [&files.authority, &files.certificate, &files.key].into_iter().chain(&files.revoked);
    all.map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
    })
    .collect()
}
