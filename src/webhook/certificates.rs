//! The certificates of the webhook server: made, examined and renewed. Nothing here knows a cluster or a clock; `now` is
//! an argument.
//!
//! One CA signs one serving certificate. Both are kept together, with their keys, as the data of a Secret. The CA is
//! renewed long before it expires, and the one before stays trusted beside it, so that no client ever meets a
//! certificate that it does not know yet.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

const DAY: i64 = 24 * 60 * 60;
pub const CA_LIFE: SignedDuration = SignedDuration::from_secs(3650 * DAY);
pub const SERVING_LIFE: SignedDuration = SignedDuration::from_secs(90 * DAY);

/// Clocks differ: a certificate is valid from a little before it was made.
const SKEW: SignedDuration = SignedDuration::from_secs(5 * 60);

/// The first second of the year 10000, which no certificate lives to see.
const FAR: u64 = 253_402_300_800;

pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
pub const CA_CERTIFICATE: &str = "ca.crt";
pub const CA_KEY: &str = "ca.key";
/// The names that the certificate was made for, one a line.
const HOSTS: &str = "hosts";
/// As many of them as any operator has.
const MAX_HOSTS: usize = 32;

/// The data of a Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What a server serves with, and what its clients are to trust.
#[derive(Clone)]
pub struct Pair {
    pub serving: Arc<CertifiedKey>,
    /// Certificates in PEM; nothing when it is not known who signed.
    pub trust: Option<Vec<u8>>,
    pub expires: Timestamp,
}

/// What is to be done about certificates.
pub enum Plan {
    /// Serve with them until this time, then plan again.
    Keep(Pair, Timestamp),
    /// Store these in their place, for a reason.
    Store(Data, String),
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be made: {0}")]
pub struct Error(#[from] rcgen::Error);

/// Looks at the certificates that are kept; says what to store when they do not do for a server of these names.
pub fn plan(kept: Option<&Data>, hosts: &[String], now: Timestamp) -> Result<Plan, Error> {
    let Some(data) = kept else {
        return Ok(Plan::Store(fresh(hosts, now)?, "there are none yet".into()));
    };
    let authority = match Authority::read(data, now) {
        Ok(authority) => authority,
        Err(why) => return Ok(Plan::Store(fresh(hosts, now)?, why)),
    };
    let part = |name: &str| data.get(name).map_or(&[][..], Vec::as_slice);
    let serving = Serving::read(part(CERTIFICATE), part(KEY)).and_then(|serving| {
        serving.verify(&authority.certificates, hosts, now)?;
        Ok(serving)
    });
    let due = |serving: &Serving| renewal(serving.life) <= now;
    if renewal(authority.life) <= now {
        let mut renewed = data.clone();
        if !serving.as_ref().is_ok_and(|s| !due(s)) {
            // By the old one, which everybody knows.
            authority.sign(&mut renewed, hosts, now)?;
        }
        let (certificate, key) = make_authority(now)?;
        renewed.insert(CA_CERTIFICATE.into(), authority.below(certificate, now));
        renewed.insert(CA_KEY.into(), key.serialize_pem().into());
        let why = "the CA has lived two thirds of its life".into();
        return Ok(Plan::Store(renewed, why));
    }
    // Replicas with other names, while one replaces the other, do not take them from each other.
    let mut names = hosts.to_vec();
    let why = match serving {
        Ok(serving) if !due(&serving) => {
            let next = renewal(serving.life).min(renewal(authority.life));
            let pair = Pair {
                expires: serving.life.1,
                serving: Arc::new(serving.key),
                trust: Some(part(CA_CERTIFICATE).to_vec()),
            };
            return Ok(Plan::Keep(pair, next));
        }
        Ok(_) => "the certificate has lived two thirds of its life".to_string(),
        Err(why) => {
            names.extend(other_names(part(HOSTS), hosts));
            why
        }
    };
    let mut renewed = data.clone();
    authority.sign(&mut renewed, &names, now)?;
    let signed = Serving::read(&renewed[CERTIFICATE], &renewed[KEY])
        .and_then(|serving| serving.verify(&authority.certificates, hosts, now));
    if signed.is_err() {
        // It is none that was made here.
        renewed = fresh(hosts, now)?;
    }
    Ok(Plan::Store(renewed, why))
}

/// Certificates that somebody else made. Who trusts what is theirs to say, unless they name a CA.
pub fn given(
    certificate: &[u8],
    key: &[u8],
    trust: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<Pair, String> {
    let serving = Serving::read(certificate, key)?;
    if serving.life.1 <= now {
        return Err(format!("{CERTIFICATE} has expired on {}", serving.life.1));
    }
    if let Some(trust) = &trust {
        certificates(CA_CERTIFICATE, trust)?;
    }
    Ok(Pair {
        expires: serving.life.1,
        serving: Arc::new(serving.key),
        trust,
    })
}

/// A new CA and a certificate of it.
pub fn fresh(hosts: &[String], now: Timestamp) -> Result<Data, Error> {
    let (certificate, key) = make_authority(now)?;
    let mut data = Data::new();
    let pem = pem(&certificate);
    let authority = Authority {
        certificates: vec![certificate],
        life: (now, now),
        key,
    };
    authority.sign(&mut data, hosts, now)?;
    data.insert(CA_CERTIFICATE.into(), pem);
    data.insert(CA_KEY.into(), authority.key.serialize_pem().into());
    Ok(data)
}

/// From when to when a certificate is valid.
type Life = (Timestamp, Timestamp);

/// When a certificate is renewed: at two thirds of its life.
fn renewal((from, to): Life) -> Timestamp {
    let third = to.duration_since(from) / 3;
    to.checked_sub(third).unwrap_or(from)
}

struct Authority {
    /// The first is the one that signs.
    certificates: Vec<CertificateDer<'static>>,
    life: Life,
    key: KeyPair,
}

impl Authority {
    fn read(data: &Data, now: Timestamp) -> Result<Authority, String> {
        let part = |name: &str| {
            let part = data.get(name).filter(|part| !part.is_empty());
            part.ok_or_else(|| format!("{name} is missing"))
        };
        let certificates = certificates(CA_CERTIFICATE, part(CA_CERTIFICATE)?)?;
        // Never with the text of the key, whatever it is.
        let garbled = || format!("{CA_KEY} is garbled");
        let key = std::str::from_utf8(part(CA_KEY)?).map_err(|_| garbled())?;
        let key = KeyPair::from_pem(key).map_err(|_| garbled())?;
        let own = &certificates[0];
        let parsed = EndEntityCert::try_from(own).map_err(|e| said(CA_CERTIFICATE, &e))?;
        if parsed.subject_public_key_info().as_ref() != key.subject_public_key_info() {
            return Err(format!("{CA_KEY} is not the key of {CA_CERTIFICATE}"));
        }
        let life = life(CA_CERTIFICATE, own)?;
        if life.1 <= now || now < life.0 {
            return Err(format!(
                "{CA_CERTIFICATE} is valid from {} to {}",
                life.0, life.1
            ));
        }
        Ok(Authority {
            certificates,
            life,
            key,
        })
    }

    /// Puts a new certificate for these names, and its key, into the data.
    fn sign(&self, data: &mut Data, hosts: &[String], now: Timestamp) -> Result<(), Error> {
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = named("lotest webhook");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        lasting(&mut params, now, SERVING_LIFE);
        let authority = authority();
        let issuer = Issuer::from_params(&authority, &self.key);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        data.insert(CERTIFICATE.into(), certificate.pem().into());
        data.insert(KEY.into(), key.serialize_pem().into());
        data.insert(HOSTS.into(), hosts.join("\n").into());
        Ok(())
    }

    /// A new CA and those that are trusted beside it.
    fn below(&self, new: CertificateDer<'static>, now: Timestamp) -> Vec<u8> {
        let lives =
            |c: &&CertificateDer<'static>| life(CA_CERTIFICATE, c).is_ok_and(|(_, end)| end > now);
        let old = self.certificates.iter().filter(lives);
        std::iter::once(&new).chain(old).flat_map(pem).collect()
    }
}

struct Serving {
    key: CertifiedKey,
    life: Life,
}

impl Serving {
    fn read(certificate: &[u8], key: &[u8]) -> Result<Serving, String> {
        let chain = certificates(CERTIFICATE, certificate)?;
        let life = life(CERTIFICATE, &chain[0])?;
        let garbled = || format!("{KEY} is garbled");
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| garbled())?;
        let key = any_supported_type(&key).map_err(|_| garbled())?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match()
            .map_err(|_| format!("{KEY} is not the key of {CERTIFICATE}"))?;
        Ok(Serving { key, life })
    }

    /// Whether a client that trusts these takes it for a server of each of the names.
    fn verify(
        &self,
        trusted: &[CertificateDer<'static>],
        hosts: &[String],
        now: Timestamp,
    ) -> Result<(), String> {
        let wrong = |e: webpki::Error| said(CERTIFICATE, &e);
        let certificate = EndEntityCert::try_from(&self.key.cert[0]).map_err(wrong)?;
        let anchors: Vec<_> = trusted
            .iter()
            .filter_map(|c| anchor_from_trusted_cert(c).ok())
            .collect();
        certificate
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                &self.key.cert[1..],
                unix(now.as_second()),
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(wrong)?;
        for host in hosts {
            let lacks = || format!("{CERTIFICATE} is not for {host}");
            let name = ServerName::try_from(host.as_str()).map_err(|_| lacks())?;
            certificate
                .verify_is_valid_for_subject_name(&name)
                .map_err(|_| lacks())?;
        }
        Ok(())
    }
}

/// The names that a certificate was made for and that are not among the hosts. The list may hold anything by now.
fn other_names(listed: &[u8], hosts: &[String]) -> Vec<String> {
    let names = String::from_utf8_lossy(listed);
    let is_name = |name: &&str| ServerName::try_from(*name).is_ok();
    let names = names.lines().filter(is_name).map(str::to_string);
    names
        .filter(|name| !hosts.contains(name))
        .take(MAX_HOSTS)
        .collect()
}

fn make_authority(now: Timestamp) -> Result<(CertificateDer<'static>, KeyPair), Error> {
    let mut params = authority();
    lasting(&mut params, now, CA_LIFE);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), key))
}

/// What all CAs have in common: it takes no more to sign with one.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("lotest webhook CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn lasting(params: &mut CertificateParams, now: Timestamp, life: SignedDuration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |at: Timestamp| {
        epoch + Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default())
    };
    params.not_before = at(now.checked_sub(SKEW).unwrap_or(now));
    params.not_after = at(now.checked_add(life).unwrap_or(now));
}

/// All certificates of a PEM file; at least one.
fn certificates(file: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{file} holds no certificate")),
        Err(_) => Err(format!("{file} is garbled")),
    }
}

/// When a certificate begins and ends, which a verifier says that is asked about times before and after it.
fn life(file: &str, certificate: &CertificateDer<'_>) -> Result<Life, String> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|e| said(file, &e))?;
    let at = |time: u64| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        let usage = KeyUsage::server_auth();
        let verified =
            parsed.verify_for_usage(ALL_VERIFICATION_ALGS, &[], &[], time, usage, None, None);
        verified.err()
    };
    let second = |time: UnixTime| {
        let second = i64::try_from(time.as_secs()).ok();
        second.and_then(|s| Timestamp::from_second(s).ok())
    };
    let bounds = match (at(0), at(FAR)) {
        (
            Some(webpki::Error::CertNotValidYet { not_before, .. }),
            Some(webpki::Error::CertExpired { not_after, .. }),
        ) => second(not_before).zip(second(not_after)),
        _ => None,
    };
    bounds.ok_or_else(|| format!("{file} has no dates"))
}

fn unix(second: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(second).unwrap_or_default(),
    ))
}

fn said(file: &str, error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => format!("{file} has expired"),
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            format!("{file} is not of {CA_CERTIFICATE}")
        }
        other => format!("{file}: {other}"),
    }
}

/// A certificate as text.
fn pem(certificate: &CertificateDer<'static>) -> Vec<u8> {
    let encoded = serde_json::to_value(k8s_openapi::ByteString(certificate.to_vec()));
    let encoded = encoded.unwrap_or_default();
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_str().unwrap_or_default().as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text.into()
}

#[cfg(test)]
mod tests;
