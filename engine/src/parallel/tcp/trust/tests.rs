//! Who is taken for a rank of the gang, and that a link outlives its keys.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ConnectionTrafficSecrets,
    crypto::cipher::{
        AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm, UnsupportedOperationError,
    },
};

use super::{super::sealed::Sealed, *};

const TOKEN: Token = Token([7; 32]);
const SOON: Duration = Duration::from_secs(20);

/// What comes of it for whoever dials with the one and whoever answers with the other, up to the first words.
fn meet(dials: Trust, answers: Trust) -> [std::io::Result<Sealed>; 2] {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let until = Instant::now() + SOON;
    let answering = thread::spawn(move || {
        let mut sealed = Sealed::answer(listener.accept().unwrap().0, &answers, until)?;
        sealed.say(b"here", until).map(|()| sealed)
    });
    let dial = || {
        let mut sealed = Sealed::dial(TcpStream::connect(at).unwrap(), &dials, until)?;
        sealed.hear(&mut [0; 4], until).map(|()| sealed)
    };
    [dial(), answering.join().unwrap()]
}

fn shown(key: &CertifiedKey) -> CertificateDer<'static> {
    key.cert[0].clone()
}

#[test]
fn one_token_makes_one_key_and_another_or_another_generation_makes_another() {
    let [one, again, later, other] = [(7, 3), (7, 3), (7, 4), (8, 3)]
        .map(|(token, generation)| shown(&key(&Token([token; 32]), generation)));
    assert_eq!(one, again);
    assert!(one != later && one != other && later != other);
    let [dialled, answered] = meet(Trust::new(&TOKEN, 3), Trust::new(&TOKEN, 3));
    assert!(dialled.is_ok() && answered.is_ok(), "{dialled:?} {answered:?}");
}

/// The public half is no secret: whoever dials a rank is shown it.
#[test]
fn nobody_is_taken_for_a_rank_without_the_secret_half_of_its_key() {
    let gang = || key(&TOKEN, 3);
    let own = key(&Token([8; 32]), 3);
    let borrowed = Arc::new(CertifiedKey::new(gang().cert.clone(), Arc::clone(&own.key)));
    for (what, stranger) in [("its own key", own), ("the gang's public half", borrowed)] {
        // It would take any rank of the gang.
        let stranger = || Trust::between(Arc::clone(&stranger), shown(&gang()), TLS13_AES_128_GCM_SHA256);
        let [dialled, answered] = meet(stranger(), Trust::new(&TOKEN, 3));
        assert!(dialled.is_err() && answered.is_err(), "{what}, dialling");
        let [dialled, answered] = meet(Trust::new(&TOKEN, 3), stranger());
        assert!(dialled.is_err() && answered.is_err(), "{what}, answering");
    }
}

#[test]
fn nobody_is_taken_for_a_rank_who_shows_nothing() {
    let mut silent = Trust::new(&TOKEN, 3);
    let mut dials = ClientConfig::clone(&silent.dials);
    dials.client_auth_cert_resolver = Arc::new(ShowsNothing);
    silent.dials = Arc::new(dials);
    let [dialled, answered] = meet(silent, Trust::new(&TOKEN, 3));
    assert!(dialled.is_err() && answered.is_err());
}

#[derive(Debug)]
struct ShowsNothing;

impl rustls::client::ResolvesClientCert for ShowsNothing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Keys that were made to seal with, by the suite below.
static KEYS: AtomicUsize = AtomicUsize::new(0);

struct Counted(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Counted {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        KEYS.fetch_add(1, Ordering::Relaxed);
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

/// As the gang's suite, with keys that last for so many records.
fn suite(records: u64) -> SupportedCipherSuite {
    let of = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let common = rustls::crypto::CipherSuiteCommon {
        suite: of.common.suite,
        hash_provider: of.common.hash_provider,
        confidentiality_limit: records,
    };
    let aead_alg = Box::leak(Box::new(Counted(of.aead_alg)));
    let worn = rustls::Tls13CipherSuite { common, hkdf_provider: of.hkdf_provider, aead_alg, quic: None };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(worn)))
}

#[test]
fn a_link_goes_on_when_its_keys_are_worn_out() {
    let part = |number: usize| vec![number as u8; 100_000];
    const PARTS: usize = 300;
    // Each part is seven records, and so a link goes through hundreds of keys: first one side alone speaks, then both.
    let suite = suite(8);
    let trust = || Trust::between(key(&TOKEN, 3), shown(&key(&TOKEN, 3)), suite);
    let ends = meet(trust(), trust()).map(|end| end.unwrap().split().unwrap());
    let running = ends.into_iter().enumerate().map(|(end, (mut out, mut inward, stream))| {
        let read = thread::spawn(move || {
            for number in 0..PARTS * (1 + usize::from(end == 1)) {
                let mut came = vec![0; 100_000];
                let mut at = 0;
                while at < came.len() {
                    let read = inward.read(&mut came[at..]).unwrap();
                    assert!(read > 0, "it ended in part {number}");
                    at += read;
                }
                assert!(came == part(number), "part {number}");
            }
            assert_eq!(inward.read(&mut [0; 1]).unwrap(), 0, "it ends where it was ended");
        });
        let write = thread::spawn(move || {
            let first = if end == 0 { 0..PARTS } else { 0..0 };
            for number in first.chain(if end == 0 { PARTS..2 * PARTS } else { 0..PARTS }) {
                out.write_all(&part(number)).unwrap();
            }
            out.close().unwrap();
            stream
        });
        (read, write)
    });
    for (read, write) in running.collect::<Vec<_>>() {
        read.join().unwrap();
        write.join().unwrap();
    }
    assert!(KEYS.load(Ordering::Relaxed) > PARTS, "keys were changed");
}
