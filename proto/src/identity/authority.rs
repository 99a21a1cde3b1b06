//! The farm's own authority, a folder: `ca.pem`, `ca-key.pem`, `issued/` (a copy of every certificate), `revoked.pem`
//! (the revocation list, which coordinators read again when it changes).

use std::{
    fs::{self, File},
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::{
    Error, Facts, Name,
    facts::{fingerprint, hex, unhex},
    folder::{make, read, replace},
    name::{Holder, is_part},
};

/// An authority outlives the machines that it names.
const YEARS: i64 = 10;
/// Clocks of a studio differ a little.
const BEFORE: Duration = Duration::minutes(10);
const KEY_FILE: &str = "ca-key.pem";

/// Who may sign names. Whoever can read its folder can.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    farm: String,
    certificate: String,
    fingerprint: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that the authority has signed.
#[derive(Debug, Clone)]
pub struct Issued {
    pub facts: Facts,
    pub revoked: bool,
}

impl Authority {
    /// Makes the authority of `farm` in a folder that has none.
    ///
    /// # Errors
    /// When there is one, or the folder cannot be written.
    pub fn init(folder: &Path, farm: &str) -> Result<Self, Error> {
        if !is_part(farm) {
            return Err(Error::BadName { name: farm.to_owned() });
        }
        if folder.join("ca.pem").exists() || folder.join(KEY_FILE).exists() {
            return Err(Error::AuthorityThere { folder: folder.to_owned() });
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("croft farm {farm}"), farm);
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{farm}").try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial());
        (params.not_before, params.not_after) = (now() - BEFORE, now() + Duration::days(365 * YEARS));
        let certificate = params.self_signed(&key)?.pem();
        make(&folder.join("issued"))?;
        replace(&folder.join(KEY_FILE), key.serialize_pem().as_bytes(), 0o600)?;
        replace(&folder.join("ca.pem"), certificate.as_bytes(), 0o644)?;
        let authority = Self::open(folder)?;
        authority.write_revoked(Vec::new())?;
        Ok(authority)
    }

    /// # Errors
    /// When there is none, or its files are not what they should be.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let (at, key_at) = (folder.join("ca.pem"), folder.join(KEY_FILE));
        if !at.exists() || !key_at.exists() {
            return Err(Error::NoAuthority { folder: folder.to_owned() });
        }
        let certificate = read(&at)?;
        let odd = |what: &str| Error::Odd { path: at.clone(), what: what.to_owned() };
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| odd("no certificate"))?;
        let farm = farm_of(&der).ok_or_else(|| odd("names no farm"))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&read(&key_at)?)?)?;
        Ok(Self { folder: folder.to_owned(), farm, fingerprint: fingerprint(&der), certificate, issuer })
    }

    pub fn farm(&self) -> &str {
        &self.farm
    }

    /// PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// SHA-256 of the certificate, hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Signs that `key` is `name`'s, for so long; PEM. Only a coordinator serves, and only at `hosts`.
    ///
    /// # Errors
    /// When a host is none, or the copy cannot be kept.
    pub fn issue(
        &self,
        name: &Name,
        hosts: &[String],
        valid: std::time::Duration,
        key: &impl PublicKeyData,
    ) -> Result<String, Error> {
        let valid = Duration::try_from(valid).unwrap_or(Duration::days(365 * YEARS));
        self.sign(name, hosts, (now() - BEFORE, now() + valid), key)
    }

    fn sign(
        &self,
        name: &Name,
        hosts: &[String],
        (from, until): (OffsetDateTime, OffsetDateTime),
        key: &impl PublicKeyData,
    ) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name.bare(), &self.farm);
        params.subject_alt_names = vec![SanType::URI(name.to_string().try_into()?)];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(dns(host)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(name.holder, Holder::Coordinator(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let serial = serial();
        let copy = self.folder.join("issued").join(format!("{}.pem", hex(serial.as_ref())));
        params.serial_number = Some(serial);
        (params.not_before, params.not_after) = (from, until);
        let certificate = params.signed_by(key, &self.issuer)?.pem();
        make(&self.folder.join("issued"))?;
        replace(&copy, certificate.as_bytes(), 0o644)?;
        Ok(certificate)
    }

    /// Every certificate that was signed, by name, then by age.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn issued(&self) -> Result<Vec<Issued>, Error> {
        let folder = self.folder.join("issued");
        let failed = |source| Error::File { path: folder.clone(), source };
        let revoked = self.revoked()?;
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|kind| kind != "pem") {
                continue;
            }
            let Some(facts) = Facts::of_pem(&read(&path)?) else { continue };
            all.push(Issued { revoked: revoked.contains(&facts.serial), facts });
        }
        let by_name = |it: &Issued| (it.facts.claims.clone(), it.facts.not_before);
        all.sort_by_key(by_name);
        Ok(all)
    }

    /// Revokes certificates by their serials, for ever.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn revoke(&self, serials: &[String]) -> Result<(), Error> {
        let lock_at = self.folder.join("revoked.lock");
        let failed = |source| Error::File { path: lock_at.clone(), source };
        let lock = File::create(&lock_at).map_err(failed)?;
        // Two who revoke at once must not forget each other's; the lock goes with the file.
        lock.lock().map_err(failed)?;
        let mut all = self.revoked()?;
        all.extend(serials.iter().filter(|serial| !all.contains(serial)).cloned().collect::<Vec<_>>());
        self.write_revoked(all)
    }

    /// Serials, hex.
    fn revoked(&self) -> Result<Vec<String>, Error> {
        let path = self.folder.join("revoked.pem");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let odd = || Error::Odd { path: path.clone(), what: "is no revocation list".to_owned() };
        let der = CertificateRevocationListDer::from_pem_slice(read(&path)?.as_bytes()).map_err(|_| odd())?;
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| odd())?;
        Ok(list.iter_revoked_certificates().map(|it| hex(it.raw_serial())).collect())
    }

    fn write_revoked(&self, serials: Vec<String>) -> Result<(), Error> {
        let at = now();
        let revoked_certs = serials.iter().filter_map(|serial| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&unhex(serial)?),
                revocation_time: at,
                reason_code: Some(RevocationReason::PrivilegeWithdrawn),
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update: at,
            next_update: at + Duration::days(365 * YEARS),
            crl_number: u64::try_from(at.unix_timestamp()).unwrap_or(0).into(),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = list.signed_by(&self.issuer)?.pem()?;
        replace(&self.folder.join("revoked.pem"), text.as_bytes(), 0o644)
    }
}

/// The farm of an authority's certificate.
pub(crate) fn farm_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, read) = x509_parser::prelude::X509Certificate::from_der(certificate).ok()?;
    let names = read.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        x509_parser::prelude::GeneralName::URI(uri) => {
            uri.strip_prefix("spiffe://").filter(|farm| is_part(farm)).map(str::to_owned)
        }
        _ => None,
    })
}

fn named(common: &str, farm: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, farm);
    name.push(DnType::CommonName, common);
    name
}

fn dns(host: &str) -> Result<rcgen::string::Ia5String, Error> {
    let bad = || Error::Host { host: host.chars().take(200).collect() };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(bad());
    }
    host.to_owned().try_into().map_err(|_| bad())
}

/// Random, positive, and never that of another certificate.
fn serial() -> SerialNumber {
    let mut bytes = Uuid::new_v4().into_bytes();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn now() -> OffsetDateTime {
    let seconds = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::{super::Request, *};

    #[test]
    fn what_is_issued_says_who_it_is_and_what_is_revoked_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ca");
        let authority = Authority::init(&folder, "acme").unwrap();
        assert!(matches!(Authority::init(&folder, "acme"), Err(Error::AuthorityThere { .. })));
        let request = Request::make().unwrap();
        let key = super::super::request::public_key(&request.der).unwrap();
        let day = std::time::Duration::from_secs(86_400);
        for uri in ["spiffe://acme/worker/ws-1", "spiffe://acme/coordinator/lead"] {
            let hosts = ["farm.studio".to_owned(), "10.0.0.5".to_owned(), "::1".to_owned()];
            let pem = authority.issue(&uri.parse().unwrap(), &hosts, day, &key).unwrap();
            let facts = Facts::of_pem(&pem).unwrap();
            assert_eq!(facts.name.unwrap().to_string(), uri);
            assert_eq!(facts.hosts, hosts);
            assert_eq!(facts.not_after - facts.not_before, 86_400 + 600);
        }
        let serials: Vec<String> =
            authority.issued().unwrap().iter().map(|it| it.facts.serial.clone()).collect();
        assert_eq!(serials.len(), 2);
        authority.revoke(&serials[..1]).unwrap();
        let again = Authority::open(&folder).unwrap();
        again.revoke(&serials[..1]).unwrap();
        let revoked: Vec<bool> = again.issued().unwrap().iter().map(|it| it.revoked).collect();
        assert_eq!(revoked, [true, false]);
        assert_eq!(again.farm(), "acme");
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Authority::init(&dir.path().join("ca"), "acme").unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("ca"), mode("ca/ca-key.pem")), (0o700, 0o600));
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        let mut der = Request::make().unwrap().der;
        assert!(super::super::request::public_key(&der).is_ok());
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(super::super::request::public_key(&der).is_err(), "signed by nobody");
        assert!(super::super::request::public_key(b"no request").is_err());
        assert!(super::super::request::public_key(&vec![0; 1 << 20]).is_err());
    }

    #[test]
    fn hosts_are_checked() {
        for bad in ["", "a b", "-.", "host:7400", "*.studio", "http://farm"] {
            let is_bad = dns(bad).is_err();
            assert!(is_bad || bad == "-.", "{bad}");
        }
    }
}
