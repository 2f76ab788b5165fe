//! Bearer tokens: signed claims, judged with the issuer's keys in a file.
//!
//! Only RS256, ES256 and EdDSA: with a shared secret whoever can check a token could make one, and `none` proves nothing. The time is judged
//! by the node's clock, which is the peers' median when its own is wrong.
//! Source: RFC 7519 section 4.1, RFC 8725 sections 3.1 (algorithms) and 3.8 to 3.9 (issuer, audience).

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use portolan_core::{cluster::limits::ACTOR_MAX, model::time::Timestamp};
use serde_json::{Map, Value};

use super::JwtOptions;

/// Octets of one token: groups of a large company fit; more would not fit into the headers.
pub(super) const TOKEN_OCTETS_MAX: usize = 8 * 1024;
/// Keys of one issuer: the present, the next and some former ones.
const KEYS_MAX: usize = 32;
/// Octets of the file of keys.
const FILE_OCTETS_MAX: usize = 256 * 1024;
/// Groups that are looked at; more are cut.
const GROUPS_MAX: usize = 256;
/// How far an issuer's clock may differ from ours, in milliseconds (RFC 7519 section 4.1.4: a small leeway).
const LEEWAY_MS: i64 = 60_000;
/// Forms of signature that are taken.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// Judges tokens of one issuer.
pub(in crate::api) struct Tokens {
    options: JwtOptions,
    keys: ArcSwap<Vec<Key>>,
    /// The file as it was read last, good or not.
    seen: Mutex<Vec<u8>>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// Whom it is for, by the issuer's name.
    pub(super) subject: String,
    /// Groups in the claim of roles.
    pub(super) groups: Vec<String>,
}

impl Tokens {
    /// Reads the keys.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(in crate::api) fn open(options: JwtOptions) -> Result<Self, String> {
        let octets = read(&options)?;
        let keys = parse(&octets).map_err(|problem| named(&options, &problem))?;
        Ok(Self { options, keys: ArcSwap::from_pointee(keys), seen: Mutex::new(octets) })
    }

    /// Reads the file of keys anew. `Ok(true)`: it changed, and the new keys are in force.
    ///
    /// # Errors
    /// What is wrong with the file, once for each content: the keys that were in force stay so.
    pub(in crate::api) fn reread(&self) -> Result<bool, String> {
        let octets = read(&self.options)?;
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == octets {
                return Ok(false);
            }
            seen.clone_from(&octets);
        }
        self.keys.store(Arc::new(parse(&octets).map_err(|problem| named(&self.options, &problem))?));
        Ok(true)
    }

    /// The claims of a token that is good at `now`.
    ///
    /// # Errors
    /// Why it is not, for the person who holds it; nothing of the token is in it.
    pub(super) fn judge(&self, token: &str, now: Timestamp) -> Result<Claims, String> {
        if token.len() > TOKEN_OCTETS_MAX {
            return Err(format!("it has more than {TOKEN_OCTETS_MAX} octets"));
        }
        let header = decode_header(token).map_err(|_| "it is no signed JWT".to_owned())?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(format!("it is signed by {:?}; RS256, ES256 and EdDSA are taken", header.alg));
        }
        let keys = self.keys.load();
        let fits = |key: &&Key| key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || header.kid == key.id);
        let mut candidates = keys.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err("no key in the jwks_file fits its key id and algorithm; was the issuer's key renewed?".to_owned());
        }
        let mut problem = String::new();
        for key in candidates {
            match decode::<Map<String, Value>>(token, &key.key, &self.validation(header.alg)) {
                Ok(data) => return self.claims(&data.claims, now),
                // The library's sentence names the claim, never its value.
                Err(error) => problem = error.to_string(),
            }
        }
        Err(format!("{problem}; it must be by issuer {} for audience {}", self.options.issuer, self.options.audience))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        // Times are judged below, by the node's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_audience(&[&self.options.audience]);
        validation.set_issuer(&[&self.options.issuer]);
        validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        validation
    }

    fn claims(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Claims, String> {
        let expires = time(claims, "exp")?.ok_or("it has no end: claim `exp` is missing")?;
        if expires <= now.0.saturating_sub(LEEWAY_MS) {
            return Err(format!("it ended at {}; get a new one", Timestamp(expires)));
        }
        if let Some(begin) = time(claims, "nbf")?.filter(|begin| *begin > now.0.saturating_add(LEEWAY_MS)) {
            return Err(format!("it is good from {} on only; is a clock wrong?", Timestamp(begin)));
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        // With room for what the name is put behind.
        if subject.trim().is_empty() || subject.len() > ACTOR_MAX - 8 || subject.chars().any(char::is_control) {
            return Err("its subject is not a name: claim `sub`".to_owned());
        }
        let groups: Vec<String> = match claims.get(&self.options.role_claim) {
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).take(GROUPS_MAX).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Claims { subject: subject.to_owned(), groups })
    }
}

/// A NumericDate (RFC 7519 section 2) in milliseconds; parts of a second are cut.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range becomes the greatest or least number")]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
    seconds.map(|seconds| Some(seconds.saturating_mul(1000))).ok_or_else(|| format!("claim `{name}` is no time"))
}

fn read(options: &JwtOptions) -> Result<Vec<u8>, String> {
    std::fs::read(&options.jwks_file).map_err(|error| named(options, &error.to_string()))
}

fn named(options: &JwtOptions, problem: &str) -> String {
    format!("read the issuer's keys from `{}`: {problem}", options.jwks_file.display())
}

fn parse(octets: &[u8]) -> Result<Vec<Key>, String> {
    if octets.len() > FILE_OCTETS_MAX {
        return Err(format!("it has more than {FILE_OCTETS_MAX} octets"));
    }
    let set: JwkSet = serde_json::from_slice(octets).map_err(|error| format!("it is no JSON web key set: {error}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("it has {} keys; at most {KEYS_MAX} are taken", set.keys.len()));
    }
    let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err("it has no key for RS256, ES256 or EdDSA".to_owned());
    }
    Ok(keys)
}

/// The key, when it is for signatures that are taken. Others in the set are for others.
fn key(jwk: &Jwk) -> Option<Key> {
    use jsonwebtoken::jwk::{AlgorithmParameters as Form, EllipticCurve};
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let (algorithm, stated) = match &jwk.algorithm {
        Form::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        Form::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => (Algorithm::ES256, KeyAlgorithm::ES256),
        Form::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => (Algorithm::EdDSA, KeyAlgorithm::EdDSA),
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|it| it != stated) {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(jwk).ok()? })
}
