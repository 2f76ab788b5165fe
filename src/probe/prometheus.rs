//! Prometheus probes: an instant query whose one number must keep a bound.
//!
//! It goes through the same bounded exchange as an HTTP probe rather than through a shared client with a pool: one code path keeps the limits
//! on time and octets, the timings come apart in the same way, and no proxy setting or kept connection can answer in the server's place.
//!
//! Unknown is never healthy: no data, several numbers, or NaN fail the probe.
//!
//! Source: Prometheus HTTP API, "Instant queries" and "Expression query result formats".

use std::time::Duration;

use http::{StatusCode, Uri};
use portolan_core::model::check::{Address, Bound, Failure, FailureCategory, Host, HttpMethod, TlsCheck};
use serde_json::Value;

use super::{
    ProbeEnv,
    http::{Ask, Exchange, quote},
    watch::Watch,
};

/// The API's path below the base URL.
const QUERY_PATH: &str = "/api/v1/query";

/// One Prometheus probe.
pub(super) async fn probe(url: &str, query: &str, bound: Bound, timeout: Duration, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    judge(figure(url, query, &[], timeout, env, watch).await?, bound)
}

/// The one number that a query finds.
pub(super) async fn figure(
    url: &str,
    query: &str,
    headers: &[(String, String)],
    timeout: Duration,
    env: &ProbeEnv,
    watch: &Watch,
) -> Result<f64, Failure> {
    let base = Base::parse(url).map_err(|why| Failure::new(FailureCategory::Protocol, &format!("`{url}` cannot be asked: {why}")))?;
    // The server gives up when we do, rather than work on for nobody.
    let path = format!("{}{QUERY_PATH}?query={}&timeout={}ms", base.prefix, percent_encoded(query), timeout.as_millis().max(1));
    let tls = base.secure.then(|| TlsCheck { verify: true, ..TlsCheck::default() });
    let ask = Ask { address: &base.address, tls: tls.as_ref(), host: None, method: HttpMethod::Get, path: &path, headers };
    let mut exchange = Exchange::begin(&ask, env, watch).await?;
    let status = exchange.status();
    if status != StatusCode::OK {
        let refused = |why: &str| Failure::new(FailureCategory::Status, &format!("status {status}: {why}"));
        watch.judged(&Err(refused("no reason given")));
        // The body says what is wrong with the query, if it is Prometheus that answers.
        let reason: Option<Value> = exchange.whole_body().await.ok().and_then(|body| serde_json::from_slice(&body).ok());
        return Err(refused(reason.as_ref().and_then(|answer| answer["error"].as_str()).unwrap_or("no reason given")));
    }
    number(&exchange.whole_body().await?)
}

fn judge(number: f64, bound: Bound) -> Result<(), Failure> {
    let (keeps, wanted) = match bound {
        Bound::Below(limit) => (number < limit.value(), format!("below {}", limit.value())),
        Bound::Above(limit) => (number > limit.value(), format!("above {}", limit.value())),
    };
    if keeps { Ok(()) } else { Err(Failure::new(FailureCategory::Bound, &format!("{number} is not {wanted}"))) }
}

/// The one number of an answer.
pub(super) fn number(body: &[u8]) -> Result<f64, Failure> {
    let not_an_answer =
        |why: &str| Failure::new(FailureCategory::Protocol, &format!("not an answer of Prometheus: {why}; it is {}", quote(body)));
    let no_data = |why: &str| Failure::new(FailureCategory::Bound, &format!("no data: {why}"));
    let answer: Value = serde_json::from_slice(body).map_err(|e| not_an_answer(&e.to_string()))?;
    let data = &answer["data"];
    let sample = match data["resultType"].as_str() {
        Some("scalar") => &data["result"],
        Some("vector") => match data["result"].as_array().map(Vec::as_slice) {
            Some([]) => return Err(no_data("the query found nothing")),
            Some([one]) => &one["value"],
            Some(several) => {
                let detail =
                    format!("the query found {} samples, and one is needed; aggregate them, for example with max()", several.len());
                return Err(Failure::new(FailureCategory::Body, &detail));
            }
            None => return Err(not_an_answer("a vector without result")),
        },
        Some(other) => {
            let detail = format!("the query's result is a {other}; a scalar or a vector of one sample is needed");
            return Err(Failure::new(FailureCategory::Body, &detail));
        }
        None => return Err(not_an_answer("no result type")),
    };
    // A sample is [time, "value"]; the value is text so that NaN and infinities have a form.
    let text = sample[1].as_str().ok_or_else(|| not_an_answer("a sample without value"))?;
    let number: f64 = text.parse().map_err(|_| not_an_answer("a value that is no number"))?;
    if number.is_nan() { Err(no_data("the result is NaN")) } else { Ok(number) }
}

/// A server's base URL in parts.
#[derive(Debug, PartialEq, Eq)]
struct Base {
    address: Address,
    secure: bool,
    /// Path before the API's, without the final slash.
    prefix: String,
}

impl Base {
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{e}"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it must begin with http:// or https://".to_owned()),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("a user or password does not belong in a plan".to_owned());
        }
        if uri.query().is_some() {
            return Err("it must not have a query of its own".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = match host.parse() {
            Ok(address) => Host::Ip(address),
            Err(_) => Host::Name(host.parse().map_err(|e| format!("{e}"))?),
        };
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { address: Address { host, port }, secure, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

/// All but the unreserved characters as `%XX` (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(octet)),
            _ => encoded.push_str(&format!("%{octet:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use portolan_core::model::check::Decimal;

    use super::*;

    #[test]
    fn base_urls_come_apart() {
        for (url, address, secure, prefix) in [
            ("http://prometheus:9090", "prometheus:9090", false, ""),
            ("https://metrics.example.com/prom/", "metrics.example.com:443", true, "/prom"),
            ("http://[2001:db8::1]", "[2001:db8::1]:80", false, ""),
            ("http://192.0.2.1:9090/", "192.0.2.1:9090", false, ""),
        ] {
            let base = Base::parse(url).unwrap();
            assert_eq!((base.address.to_string().as_str(), base.secure, base.prefix.as_str()), (address, secure, prefix));
        }
        for url in ["prometheus:9090", "ftp://prometheus", "http://", "http://a:b@prometheus", "http://prometheus/?x=1", ""] {
            assert!(Base::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(percent_encoded(r#"up{job="a b"} + 1"#), "up%7Bjob%3D%22a%20b%22%7D%20%2B%201");
    }

    #[test]
    fn bounds_are_strict() {
        let limit = Decimal(1_500_000);
        assert_eq!(judge(1.4, Bound::Below(limit)), Ok(()));
        assert_eq!(judge(1.5, Bound::Below(limit)).unwrap_err().detail, "1.5 is not below 1.5");
        assert_eq!(judge(f64::INFINITY, Bound::Above(limit)), Ok(()));
        assert!(judge(1.5, Bound::Above(limit)).is_err());
    }
}
